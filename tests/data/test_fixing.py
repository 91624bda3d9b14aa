from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.data.datasets import DEMANDS, check, erniekit_row, make_picture, messages_row, write_rows

from ocrvl_modal.data.checking.fixing import fix_rows
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.errors import ExitCode, OcrvlError

MISPLACED = {
    "messages": [{"role": "user", "content": "OCR:<image>"}, {"role": "assistant", "content": "7"}],
    "images": ["b.png"],
}


def test_what_can_be_mended_is_and_the_rest_keeps_its_bytes(tmp_path: Path) -> None:
    turns = b'{"role":"user","content":"<image>OCR:"},{"role":"assistant","content":"\\u00e9"}'
    odd = b'{"images":["c.png"],  "messages":[' + turns + b"]}"
    path = write_rows(
        tmp_path / "train.jsonl",
        odd,
        b"",
        messages_row("cafe\u0301\x07"),
        MISPLACED,
        messages_row("cafe\u0301\x07"),
        messages_row(""),
        b"{",
        erniekit_row("e\u0301", image="d.png"),
    )
    before = path.read_bytes()
    report = fix_rows(path, tmp_path / "fixed.jsonl", DEMANDS)
    assert path.read_bytes() == before
    lines = report.out.read_bytes().splitlines()
    assert lines[0] == odd
    assert [sample.target for sample in read_samples(report.out)] == ["é", "café", "7", "é"]
    assert check(report.out, images="none").findings == ()
    assert report.mended == {
        "blank_line": 1,
        "control_characters": 1,
        "not_nfc": 2,
        "image_place": 1,
        "duplicate": 1,
    }
    assert report.dropped == {"empty_target": 1, "not_json": 1}
    changes = [json.loads(line) for line in report.changes_file.read_text().splitlines()]
    assert len(changes) == 8
    assert [change["line"] for change in changes] == [2, 3, 3, 4, 5, 6, 7, 8]
    assert changes == report.to_dict()["changes"]


def test_a_json_array_becomes_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps([messages_row("1"), messages_row("2", image="b.png")], indent=2))
    report = fix_rows(path, tmp_path / "fixed.jsonl", DEMANDS)
    assert report.mended == {"json_array": 1}
    assert [sample.target for sample in read_samples(report.out)] == ["1", "2"]


@pytest.mark.parametrize("between", ["\n", "\n\n", ",\n"])
@pytest.mark.parametrize("indent", [0, 4, "\t"])
def test_rows_over_several_lines_become_lines(tmp_path: Path, indent: int | str, between: str) -> None:
    path = tmp_path / "train.jsonl"
    rows = [messages_row("1 }\n{"), erniekit_row("2")]
    path.write_text(between.join(json.dumps(row, indent=indent) for row in rows) + "\n")
    assert check(path, images="none").counts == {"spread_rows": 1}
    report = fix_rows(path, tmp_path / "fixed.jsonl", DEMANDS)
    assert report.mended == {"spread_rows": 1}
    assert [sample.target for sample in read_samples(report.out)] == ["1 }\n{", "2"]


@pytest.mark.parametrize(
    "content", ['{\n"messages": [', '{\n"a": 1}\n{', "[{}", '{\n"a": 1}\nrow', "[1] 2", '{\n"a": ' + "[" * 9999]
)
def test_a_document_that_breaks_off_is_told_and_nothing_is_written(tmp_path: Path, content: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(content)
    with pytest.raises(OcrvlError, match="does not go on as it begins") as told:
        fix_rows(path, tmp_path / "fixed.jsonl", DEMANDS)
    assert told.value.code is ExitCode.DATA_INVALID
    assert [file.name for file in tmp_path.iterdir()] == ["train.jsonl"]


def test_a_row_that_breaks_off_first_makes_no_document_of_the_others(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", messages_row(), messages_row(image="b.png"))
    path.write_text("{\n" + path.read_text())
    assert check(path, images="none").counts == {"not_json": 1}


def test_a_mark_that_could_stand_in_two_places_is_left_to_the_user(tmp_path: Path) -> None:
    two = [{"role": "user", "content": "a<image>"}, {"role": "assistant", "content": "b"}]
    path = write_rows(tmp_path / "train.jsonl", messages_row(), {"messages": two * 2, "images": ["a", "b"]})
    assert fix_rows(path, tmp_path / "fixed.jsonl", DEMANDS).dropped == {"image_place": 1}


@pytest.mark.parametrize("out", ["train.jsonl", "there.jsonl", "elsewhere/fixed.jsonl"])
def test_no_file_is_overwritten_and_no_image_path_broken(tmp_path: Path, out: str) -> None:
    path = write_rows(tmp_path / "train.jsonl", messages_row())
    write_rows(tmp_path / "there.jsonl")
    with pytest.raises(OcrvlError) as caught:
        fix_rows(path, tmp_path / out, DEMANDS)
    assert caught.value.code is ExitCode.USAGE
    assert "--fix" in caught.value.hint


def test_nothing_is_written_where_nothing_can_be_mended(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", b"{")
    with pytest.raises(OcrvlError, match="no row of") as caught:
        fix_rows(path, tmp_path / "fixed.jsonl", DEMANDS)
    assert caught.value.code is ExitCode.DATA_INVALID
    assert [entry.name for entry in tmp_path.iterdir()] == ["train.jsonl"]


def test_a_copy_of_an_image_under_another_name_is_a_duplicate_where_images_are_opened(tmp_path: Path) -> None:
    image = make_picture(tmp_path / "a.png", "7 km")
    shutil.copy(image, tmp_path / "b.png")
    path = write_rows(tmp_path / "train.jsonl", messages_row("7 km"), messages_row("7 km", image="b.png"))
    assert check(path).counts["duplicate"] == 1
    report = fix_rows(path, tmp_path / "fixed.jsonl", DEMANDS, images="all")
    assert (report.rows, report.mended) == (1, {"duplicate": 1})
    assert "duplicate" not in check(report.out).counts
