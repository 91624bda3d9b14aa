"""Sources as people really have them: from other systems, half finished, and not always files at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data.sources import draw_page
from ocrvl_modal.data.converting.columns import Columns
from ocrvl_modal.data.converting.conversion import ConversionReport, convert
from ocrvl_modal.data.converting.formats import FORMATS, Source, detect
from ocrvl_modal.data.converting.samples import Wish
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.errors import ExitCode, OcrvlError


def converted(source: Path, out: Path) -> ConversionReport:
    return convert(str(source), Source(source, Columns()), detect(source), out, wish=Wish())


def targets(report: ConversionReport) -> list[str]:
    return [sample.target for sample in read_samples(report.rows)]


def dropped(report: ConversionReport) -> dict[str, str]:
    lines = (report.folder / "dropped.jsonl").read_text("utf-8").splitlines()
    return {row["origin"]: row["reason"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("known", [None, *FORMATS])
def test_a_pipe_and_a_device_are_refused_and_never_waited_for(known: str | None, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OcrvlError, match="pipe or a device") as refused:
            detect(source, known)
        assert refused.value.code is ExitCode.USAGE


def test_endings_in_capitals_are_endings(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    for name, text in {"A.TXT": "one", "B.GT.TXT": "two", "C.HTM": "<table><tr><td>x</td></tr></table>"}.items():
        draw_page(source / f"{name[0]}.PNG")
        (source / name).write_text(text, encoding="utf-8")
    assert targets(converted(source, tmp_path / "out")) == ["one", "two", "<fcel>x<nl>"]


def test_a_text_without_an_image_is_counted(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    for name in ("a.png", "b.png", "below/c.png"):
        draw_page(source / name)
    for name in ("a.txt", "b.txt", "b.gt.txt", "below/c.png.txt", "below/lost.txt", "below/a.md"):
        (source / name).write_text("text", encoding="utf-8")
    report = converted(source, tmp_path / "out")
    assert len(targets(report)) == 3
    assert dropped(report) == {"below/a.md": "no_image", "below/lost.txt": "no_image"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_file_is_read_with_the_separator_that_its_header_has(separator: str, tmp_path: Path) -> None:
    draw_page(tmp_path / "a.png")
    rows = [["image", "text"], ["a.png", '"one, two; three\nfour"']]
    table = tmp_path / "labels.csv"
    table.write_text("\r\n".join(separator.join(row) for row in rows), encoding="utf-8-sig", newline="")
    assert targets(converted(table, tmp_path / "out")) == ["one, two; three\nfour"]


def test_an_empty_table_is_called_empty(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("")
    with pytest.raises(OcrvlError, match="is empty") as refused:
        converted(table, tmp_path / "out")
    assert refused.value.code is ExitCode.DATA_INVALID
    assert not (tmp_path / "out").exists()


def test_of_several_tables_in_a_folder_one_is_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "tables"
    source.mkdir()
    for name in ("a.csv", "b two.csv"):
        (source / name).write_text("image,text\n")
    with pytest.raises(OcrvlError) as refused:
        detect(source)
    assert f"{source}/a.csv, '{source}/b two.csv'" in refused.value.hint


def coco(folder: Path, images: list[object], words: list[object]) -> Path:
    draw_page(folder / "a.png")
    file = folder / "labels.json"
    file.write_text(json.dumps({"images": images, "annotations": words}), encoding="utf-8")
    return file


def test_words_of_no_image_and_boxes_without_area_are_counted(tmp_path: Path) -> None:
    box = [10, 10, 80, 20]
    words = [
        {"id": 1, "image_id": 1, "bbox": box, "text": "one"},
        {"id": 2, "image_id": 1, "bbox": [90, 10, -80, 20], "text": "swapped"},
        {"id": 3, "image_id": 1, "bbox": [10, 10, 80, 0], "text": "flat"},
        {"id": 4, "image_id": 7, "bbox": box, "text": "of another image"},
        {"id": 5, "bbox": box, "text": "of none"},
    ]
    report = converted(coco(tmp_path / "words", [{"id": 1, "file_name": "a.png"}], words), tmp_path / "out")
    assert targets(report) == ["one"]
    assert dropped(report) == {
        "image 1, word 2": "bad_points",
        "image 1, word 3": "bad_points",
        "word 4": "image_missing",
        "word 5": "image_missing",
    }


def test_images_of_one_id_are_refused_since_their_words_cannot_be_told_apart(tmp_path: Path) -> None:
    images = [{"file_name": "a.png"}, {"file_name": "b.png"}]
    with pytest.raises(OcrvlError, match="2 images, and only 1 id"):
        converted(coco(tmp_path / "words", images, []), tmp_path / "out")
