from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocrvl_modal.fetched_models import FetchedFile, FetchedModel, parse_complete, problem_with, problem_with_folder

SIZES = {"config.json": 2, "model.safetensors": 8}
FETCHED = FetchedModel(
    repository="me/x",
    revision="main",
    commit="c" * 40,
    files={name: FetchedFile(size_bytes=size, sha256="0" * 64) for name, size in SIZES.items()},
)
COMPLETE = FETCHED.to_json()
OF_A_HUB = json.dumps({"family": "tiny", "repository": "me/x"}).encode()
OF_OURS = json.dumps({"family": "tiny"}).encode()


@pytest.mark.parametrize(
    ("sizes", "complete", "family", "problem"),
    [
        (SIZES, COMPLETE, OF_A_HUB, None),
        (SIZES, COMPLETE, None, None),
        (SIZES, None, None, None),
        (SIZES, None, OF_OURS, None),
        (SIZES, None, b"damaged", None),
        (SIZES, None, OF_A_HUB, "its download was cut off"),
        (SIZES, b"{}", OF_A_HUB, ".complete cannot be read"),
        (SIZES, COMPLETE[:-9], None, ".complete cannot be read"),
        ({"config.json": 2}, COMPLETE, None, "model.safetensors is missing"),
        ({**SIZES, "model.safetensors": 7}, COMPLETE, None, "model.safetensors has 7 bytes of 8"),
        ({**SIZES, "notes.txt": 1, ".complete": 9}, COMPLETE, None, None),
        ({**SIZES, "model-2.safetensors": 1}, COMPLETE, None, "model-2.safetensors did not come with the others"),
    ],
)
def test_what_its_marks_say_of_a_model(
    sizes: dict[str, int], complete: bytes | None, family: bytes | None, problem: str | None
) -> None:
    assert problem_with(sizes, complete, family) == problem


def test_the_mark_reads_back_as_it_was_written() -> None:
    assert parse_complete(COMPLETE) == FETCHED


def test_a_folder_is_looked_at_as_it_lies(tmp_path: Path) -> None:
    for name, size in SIZES.items():
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / ".complete").write_bytes(COMPLETE)
    assert problem_with_folder(tmp_path) is None
    (tmp_path / "config.json").unlink()
    assert problem_with_folder(tmp_path) == "config.json is missing"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_mark_that_leads_out_of_the_folder_cannot_be_read(name: str) -> None:
    tampered = COMPLETE.replace(b'"config.json"', json.dumps(name).encode())
    assert tampered != COMPLETE
    assert parse_complete(tampered) is None
