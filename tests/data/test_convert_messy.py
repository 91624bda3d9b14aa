"""Sources as people really have them: from other systems, half finished, and not always files at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.data.datasets import DEMANDS

from data import sources
from data.sources import draw_page
from ocrvl_modal.data.checking.whole import How, check_dataset
from ocrvl_modal.data.converting.columns import Columns
from ocrvl_modal.data.converting.conversion import ConversionReport, convert
from ocrvl_modal.data.converting.formats import FORMATS, Source, detect
from ocrvl_modal.data.converting.samples import Wish
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.errors import ExitCode, OcrvlError


def converted(source: Path, out: Path, wish: Wish | None = None, **options: Any) -> ConversionReport:
    return convert(str(source), Source(source, Columns()), detect(source), out, wish=wish or Wish(), **options)


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


def test_words_are_never_read_from_the_image_of_another_split(tmp_path: Path) -> None:
    source = tmp_path / "scenes"
    for split, text in {"train": "one", "test": "two"}.items():
        draw_page(source / split / "images" / "img_1.jpg")
        (source / split / "gt").mkdir()
        (source / split / "gt" / "gt_img_1.txt").write_text(f"10,10,90,10,90,30,10,30,{text}\n", encoding="utf-8")
    draw_page(source / "test" / "images" / "img_1.jpg", quality=5)
    report = converted(source, tmp_path / "out", images="reference", wish=Wish("spotting"))
    assert {sample.target.partition("<")[0]: sample.image.resolve() for sample in read_samples(report.rows)} == {
        "one": source / "train" / "images" / "img_1.jpg",
        "two": source / "test" / "images" / "img_1.jpg",
    }


def icdar_side_by_side(source: Path) -> Path:
    """Images and words of both splits in folders of their own, as the competition's archives unpack."""
    for split, text in {"training": "one", "test": "two"}.items():
        draw_page(source / f"ch4_{split}_images" / "img_1.jpg")
        (source / f"ch4_{split}_gt").mkdir()
        (source / f"ch4_{split}_gt" / "gt_img_1.txt").write_text(f"10,10,90,10,90,30,10,30,{text}\n", encoding="utf-8")
    return source


def test_words_whose_image_is_not_certain_are_left_out(tmp_path: Path) -> None:
    source = icdar_side_by_side(tmp_path / "scenes")
    (source / "ch4_test_gt" / "gt_img_2.txt").write_text("10,10,90,10,90,30,10,30,three\n", encoding="utf-8")
    draw_page(source / "ch4_test_images" / "img_2.jpg")
    report = converted(source, tmp_path / "out")
    assert targets(report) == ["three"]
    assert dropped(report) == {
        "ch4_test_gt/gt_img_1.txt": "image_ambiguous",
        "ch4_training_gt/gt_img_1.txt": "image_ambiguous",
    }
    assert "--root" in report.examples[0].detail


def test_a_root_says_which_images_are_meant(tmp_path: Path) -> None:
    source = icdar_side_by_side(tmp_path / "scenes")
    asked = Source(source / "ch4_test_gt", Columns(), (source / "ch4_test_images",))
    report = convert("scenes", asked, "icdar", tmp_path / "out", wish=Wish())
    assert targets(report) == ["two"]


def test_images_that_two_folders_beside_a_coco_file_have_are_left_out(tmp_path: Path) -> None:
    words = [{"id": one, "image_id": one, "bbox": [10, 10, 80, 20], "text": f"of {one}"} for one in (1, 2)]
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]
    source = coco(tmp_path / "words", images, words)
    for place in ("train/1.png", "val/1.png", "val/2.png"):
        draw_page(source.parent / place)
    report = converted(source, tmp_path / "out")
    assert targets(report) == ["of 2"]
    assert dropped(report) == {"image 1": "image_ambiguous"}


def string(content: str, left: int, width: int) -> str:
    return f'<String CONTENT="{content}" HPOS="{left}" WIDTH="{width}"/>'


@pytest.mark.parametrize(
    ("strings", "text"),
    [
        ([string("so", 10, 20), string(",", 30, 2), string("it", 40, 10)], "so, it"),
        ([string("(", 10, 2), string("484", 20, 10), string(")", 30, 2)], "( 484)"),
        ([string("one", 10, 20), string("two", 30, 20)], "one two"),
        ([string("Be", 10, 20), string("-", 30, 5)], "Be-"),
        ([string("a", 10, 5), "<SP/>", string(",", 15, 5), string("b", 20, 5)], "a ,b"),
        (['<String CONTENT="a"/>', '<String CONTENT=","/>'], "a ,"),
        ([string("", 10, 5), string("a", 15, 5)], "a"),
    ],
)
def test_signs_that_touch_a_word_are_of_it(strings: list[str], text: str, tmp_path: Path) -> None:
    draw_page(tmp_path / "scans" / "a.png")
    (tmp_path / "scans" / "a.xml").write_text(
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v2#"><Layout><Page WIDTH="200" HEIGHT="100">'
        f'<TextLine HPOS="10" VPOS="10" WIDTH="80" HEIGHT="20">{"".join(strings)}</TextLine></Page></Layout></alto>'
    )
    assert targets(converted(tmp_path / "scans", tmp_path / "out")) == [text]


@pytest.mark.parametrize("ending", [".jp2", ".JP2", ".TIF", ".jpeg", ".j2k", ".png"])
@pytest.mark.parametrize("make", [sources.page_xml, sources.alto])
def test_an_archive_may_have_moved_its_images_and_converted_them(
    make: Callable[[Path], Path], ending: str, tmp_path: Path
) -> None:
    source = make(tmp_path / "archive")
    (image,) = source.glob("scan.*[!l]")
    draw_page(source / f"scan{ending}")
    if image.suffix != ending:
        image.unlink()
    report = converted(source, tmp_path / "out")
    assert report.samples == 2
    checked = check_dataset(report.rows, DEMANDS, How(images="all", processes=1))
    assert (checked.samples, checked.errors) == (2, 0)


def test_a_pdf_that_an_archive_names_is_not_taken_for_the_image(tmp_path: Path) -> None:
    source = sources.alto(tmp_path / "archive")
    (source / "scan.xml").write_text((source / "scan.xml").read_text().replace("scan.tif", "scan.pdf"))
    (source / "scan.pdf").write_bytes(b"%PDF-1.4")
    assert converted(source, tmp_path / "out").samples == 2


def test_a_jpeg_2000_is_an_image_from_the_folder_to_the_check(tmp_path: Path) -> None:
    draw_page(tmp_path / "scans" / "a.jp2")
    (tmp_path / "scans" / "a.txt").write_text("one", encoding="utf-8")
    report = converted(tmp_path / "scans", tmp_path / "out")
    (sample,) = read_samples(report.rows)
    assert sample.image.suffix == ".jp2"
    for decode in (True, False):
        checked = check_dataset(report.rows, DEMANDS, How(images="all", decode=decode, processes=1))
        assert (checked.samples, checked.errors, checked.vision_tokens.total > 0) == (1, 0, True)


def test_tables_of_pubtabnet_become_otsl(tmp_path: Path) -> None:
    source = sources.pubtabnet(tmp_path / "source")
    for place in (source, source / "PubTabNet_2.0.0.jsonl"):
        report = converted(place, tmp_path / "out")
        assert targets(report) == ["<fcel>H<lcel><nl><fcel>< 1<sup2<ecel><nl>"]
        assert dict(report.by_task) == {"table": 1}


def test_labels_of_tables_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    source = sources.pubtabnet(tmp_path / "source")
    labels = source / "PubTabNet_2.0.0.jsonl"
    good = json.loads(labels.read_text())
    bad = [
        {**good, "filename": "PMC2.png"},
        {**good, "html": {**good["html"], "cells": good["html"]["cells"][:2]}},
        {**good, "html": {"structure": {"tokens": []}, "cells": []}},
        {"filename": "PMC1_000.png"},
        {**good, "split": "../source/val"},
    ]
    labels.write_text("".join(json.dumps(label) + "\n" for label in (good, *bad)) + "{\n")
    report = converted(source, tmp_path / "out")
    assert report.samples == 1
    assert list(dropped(report).values()) == [
        *("image_missing", "bad_table", "bad_table", "bad_line", "image_missing", "bad_line")
    ]


def test_a_gt_file_of_ppocrlabel_lies_beside_its_images(tmp_path: Path) -> None:
    source = sources.pubtabnet(tmp_path / "source")
    label = json.loads((source / "PubTabNet_2.0.0.jsonl").read_text())
    folder = tmp_path / "tables"
    draw_page(folder / "a.png")
    del label["split"]
    (folder / "gt.txt").write_text(json.dumps({**label, "filename": "a.png", "gt": "<html></html>"}) + "\n")
    assert detect(folder) == "pubtabnet"
    assert targets(converted(folder, tmp_path / "out")) == ["<fcel>H<lcel><nl><fcel>< 1<sup2<ecel><nl>"]


def test_of_two_files_of_table_labels_one_must_be_named(tmp_path: Path) -> None:
    source = sources.pubtabnet(tmp_path / "source")
    labels = source / "PubTabNet_2.0.0.jsonl"
    (source / "more.jsonl").write_bytes(labels.read_bytes())
    for folder in (source, source / "val"):
        with pytest.raises(OcrvlError, match="not exactly one file of table labels") as refused:
            convert(str(folder), Source(folder, Columns()), "pubtabnet", tmp_path / "out", wish=Wish())
        assert refused.value.code is ExitCode.USAGE
    assert converted(labels, tmp_path / "out").samples == 1
