from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.data.known import KNOWN_DATASETS
from ocrvl_modal.data.references import references_in, with_references
from ocrvl_modal.jobs.fetching.addresses import Unreachable, address_of, parse_source

MESSAGES = json.dumps({"messages": [], "images": ["a.png", "b.png"], "note": "ক"}, ensure_ascii=False)
ERNIEKIT = json.dumps(
    {"text_info": [{"text": "a.png"}], "image_info": [{"image_url": "a.png", "matched_text_index": 0}]}
)


def test_the_images_of_both_forms_are_named_anew_and_nothing_else_changes() -> None:
    assert references_in(MESSAGES) == ("a.png", "b.png")
    assert references_in(ERNIEKIT) == ("a.png",)
    assert with_references(MESSAGES, {"a.png": "./x"}) == MESSAGES.replace("a.png", "./x")
    assert json.loads(with_references(ERNIEKIT, {"a.png": "./x"})) == {
        "text_info": [{"text": "a.png"}],
        "image_info": [{"image_url": "./x", "matched_text_index": 0}],
    }


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_a_line_that_is_no_row_stays_as_it_is(line: str) -> None:
    assert references_in(line) == ()
    assert with_references(line, {"a": "b"}) == line


@pytest.mark.parametrize(
    "odd", ['{"images": "a.png"}', '{"images": [1]}', '{"image_info": [{"image_url": 1}, 2]}', "[" * 9999]
)
def test_odd_rows_name_no_image(odd: str) -> None:
    assert references_in(odd) == ()


@pytest.mark.parametrize(
    ("reference", "base", "address"),
    [
        ("http://h/a.png", "s3://b/d/x.jsonl", "http://h/a.png"),
        ("a.png", "https://h/d/x.jsonl", "https://h/d/a.png"),
        ("/a.png", "https://h/d/x.jsonl?signature=1", "https://h/a.png"),
        ("./i/a.png", "s3://b/d/x.jsonl", "s3://b/d/i/a.png"),
        ("i/../a.png", "s3://b/x.jsonl", "s3://b/a.png"),
        ("s3://other/a.png", "s3://b/x.jsonl", "s3://other/a.png"),
        ("a.png", "file:///d/x.jsonl", "file:///d/a.png"),
    ],
)
def test_where_an_image_is_looked_for(reference: str, base: str, address: str) -> None:
    assert address_of(reference, base) == address


@pytest.mark.parametrize(
    ("reference", "base"),
    [
        ("../a.png", "s3://b/d/x.jsonl"),
        ("../b2/a.png", "s3://b/x.jsonl"),
        ("/etc/hosts", "file:///d/x.jsonl"),
        ("file:///etc/hosts", "https://h/x.jsonl"),
        ("file:///etc/hosts", "file:///d/x.jsonl"),
        ("ftp://h/a.png", "https://h/x.jsonl"),
        ("../dx/a.png", "file:///d/x.jsonl"),
    ],
)
def test_what_leads_elsewhere_is_not_looked_for(reference: str, base: str) -> None:
    with pytest.raises(Unreachable):
        address_of(reference, base)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("bengali", "web", "bengali"),
        ("me/receipts", "hub", "receipts"),
        ("hf://me/receipts", "hub", "receipts"),
        ("hf://datasets/me/receipts", "hub", "receipts"),
        ("https://h/a%20b/train.jsonl?x=1", "web", "a b"),
        ("s3://bucket/receipts/", "objects", "receipts"),
        ("gs://bucket/a/train.jsonl", "objects", "a"),
        ("https://h/d/ocr_train.jsonl", "web", "ocr_train"),
        ("s3://bucket/train.jsonl", "objects", "train"),
    ],
)
def test_what_a_source_is_and_what_its_folder_is_called(text: str, kind: str, name: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.name) == (kind, name)


def test_known_datasets_have_training_rows() -> None:
    assert all("train.jsonl" in files for files in KNOWN_DATASETS.values())
