"""The quick way to read which images rows name finds, and refuses, what reading them row by row does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.stored import row
from ocrvl_modal.data.shards import reading
from ocrvl_modal.data.shards.renaming import full_path
from ocrvl_modal.errors import OcrvlError

GOOD = json.dumps(row("a.png", "a")).encode()
OTHER = json.dumps(row("b/./c.png", "ü\u3000x")).encode()
ERNIEKIT = json.dumps(
    {
        "image_info": [{"image_url": "e.png", "matched_text_index": 0}],
        "text_info": [{"text": "OCR:", "tag": "mask"}, {"text": "x", "tag": "no_mask"}],
    }
).encode()


def with_prompt(prompt: str) -> bytes:
    return json.dumps(row("a.png", "a")).replace("<image>OCR:", prompt).encode()


def of(image: str, target: str = "a") -> bytes:
    return json.dumps(row(image, target)).encode()


PLAIN = {
    "one row": GOOD,
    "rows": b"\n".join([GOOD, OTHER, GOOD, b""]),
    "no end": b"\n".join([GOOD, OTHER]),
    "carriage returns": b"\r\n".join([GOOD, OTHER, b""]),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "white space around": b"  " + GOOD + b"\t\n" + OTHER,
    "erniekit": ERNIEKIT + b"\n" + ERNIEKIT,
    "names": b"\n".join(
        map(of, ["./a", "a//b", "/x/y", "../z", ".hidden", "c:/d", "ü ö", "a/", ".", "..", "data", "x" * 4096])
    ),
    "signs": b"\n".join([of("a", "a < b"), of("a", "<fcel>1<nl>"), of("b", "|")]),
}
ODD = {
    "nothing": b"",
    "blank lines only": b"\n \n",
    "blank lines at the end": GOOD + b"\n\n \n",
    "a blank line": GOOD + b"\n\n" + OTHER,
    "a blank line first": b"\n" + GOOD,
    "two rows in a line": GOOD + GOOD,
    "two rows in a line and a blank one": GOOD + b" " + OTHER + b"\n\n",
    "a row over lines": GOOD.replace(b", ", b",\n", 1) + b"\n",
    "a row over lines and two in one": GOOD.replace(b", ", b",\n", 1) + b"\n" + GOOD + GOOD,
    "an array": b"[" + GOOD + b"]",
    "an array later": GOOD + b"\n[]",
    "both forms": GOOD + b"\n" + ERNIEKIT,
    "a label": GOOD[:-1] + b', "label": [1]}',
    "no system": GOOD[:-1] + b', "system": ""}',
    "a system": GOOD[:-1] + b', "system": "x"}',
    "an unknown key": GOOD[:-1] + b', "x": 1}',
    "a key twice": GOOD[:-1] + b', "images": ["z.png"]}',
    "two images": GOOD[:-1] + b', "images": ["z.png", "y.png"]}',
    "not utf-8": GOOD.replace(b"OCR", b"\xff"),
    "half a pair": GOOD.replace(b"OCR", b"\\ud800"),
    "a vertical tab": GOOD + b"\x0b",
    "no mark": with_prompt("OCR:"),
    "two marks": with_prompt("<image><image>OCR:"),
    "a mark later": with_prompt("OCR:<image>"),
    "no mark and one too many": with_prompt("OCR:") + b"\n" + with_prompt("<image><image>"),
    "a reserved prompt": with_prompt("<image></s>"),
    "a reserved target": of("a", "x</s>"),
    "a mark in the target": of("a", "<image>"),
    "an empty target": of("a", ""),
    "a blank target": of("a", "\u3000\n"),
    "an empty name": of(""),
    "a zero byte": of("a\0"),
    "an address": of("https://x/a.png"),
    "an image inside": of("data:image/png;base64,xx"),
    "a long name": of("x" * 4097),
}


def answer(path: Path, *, quickly: bool) -> object:
    try:
        return reading.image_paths(path) if quickly else reading._in_samples(path)
    except OcrvlError as error:
        return error.args


@pytest.mark.parametrize("content", [*PLAIN.values(), *ODD.values()], ids=[*PLAIN, *ODD])
@pytest.mark.parametrize("after", [b"", b"\n" + GOOD], ids=["alone", "and a good row"])
def test_both_ways_give_the_same(tmp_path: Path, content: bytes, after: bytes) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(content + after)
    assert answer(path, quickly=True) == answer(path, quickly=False)


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_plain_rows_are_read_quickly(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(content)
    assert reading._in_plain_rows(path) == reading._in_samples(path)


def test_a_row_that_is_refused_far_down_is_told_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\n".join([GOOD] * 4000 + [of("a", "")] + [OTHER] * 4000))
    with pytest.raises(OcrvlError, match="line 4001: the target is empty"):
        reading.image_paths(path)


@given(st.text(st.sampled_from("./a~\\ ü"), max_size=8), st.sampled_from(["/", "/a", "/a/..", "//a"]))
@example("", "/a")
@settings(max_examples=150, deadline=None)
def test_a_full_path_is_what_pathlib_makes_of_it(reference: str, folder: str) -> None:
    assert full_path(str(Path(folder)), reference) == str(Path(folder) / reference)
