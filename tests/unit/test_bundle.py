"""A dataset as it travels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ocrvl_modal.data.bundle import bundle
from ocrvl_modal.data.checks import dataset_digest
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.errors import OcrvlError


def write_rows(path: Path, *rows: tuple[str, str]) -> Path:
    """Write a dataset of (image, target)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                "messages": [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": target}],
                "images": [image],
            }
        )
        for image, target in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, content in (("one.PNG", b"1"), ("zwei ü.jpg", b"2"), ("again.png", b"1")):
        (folder / name).write_bytes(content)
    return folder


def test_paths_of_every_kind_become_names_inside_the_folder(tmp_path: Path, images: Path) -> None:
    rows = write_rows(
        tmp_path / "set" / "train.jsonl",
        ("../pictures/one.PNG", "a"),
        (str(images / "zwei ü.jpg"), 'ä\n"quoted"'),
        ("../pictures/again.png", "c"),
    )
    with bundle(rows) as made:
        there = read_samples(made.dataset)
        assert [(sample.prompt, sample.target) for sample in there] == [
            (sample.prompt, sample.target) for sample in read_samples(rows)
        ]
        assert [sample.image.read_bytes() for sample in there] == [b"1", b"2", b"1"]
        assert all(sample.image.parent == made.folder / "images" for sample in there)
        assert made.dataset.name == "train.jsonl"
        assert made.name.startswith("set-")
    assert not made.folder.exists()


def test_what_arrives_has_the_digest_that_was_told(tmp_path: Path, images: Path) -> None:
    rows = write_rows(tmp_path / "x.jsonl", (str(images / "one.PNG"), "a"), (str(images / "zwei ü.jpg"), "b"))
    with bundle(rows) as made:
        arrived = shutil.copytree(made.folder, tmp_path / "arrived")
        assert dataset_digest(arrived / "x.jsonl") == made.digest


def test_the_name_tells_the_content_and_not_where_it_lies(tmp_path: Path, images: Path) -> None:
    here = write_rows(tmp_path / "a" / "lines" / "train.jsonl", (str(images / "one.PNG"), "a"))
    there = write_rows(tmp_path / "b" / "lines" / "train.jsonl", ("../../pictures/one.PNG", "a"))
    other = write_rows(tmp_path / "c" / "lines" / "train.jsonl", ("../../pictures/one.PNG", "b"))
    picture = write_rows(tmp_path / "d" / "lines" / "train.jsonl", ("../../pictures/zwei ü.jpg", "a"))
    names = []
    for rows in (here, there, other, picture):
        with bundle(rows) as made:
            names.append(made.name)
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_an_image_that_many_rows_name_travels_once(tmp_path: Path, images: Path) -> None:
    one = str(images / "one.PNG")
    with bundle(write_rows(tmp_path / "x.jsonl", (one, "a"), (one, "b"))) as made:
        assert len(list((made.folder / "images").iterdir())) == 1


def test_a_bad_row_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    rows = tmp_path / "x.jsonl"
    rows.write_text("no json\n")
    with pytest.raises(OcrvlError, match="line 1"), bundle(rows):
        pass
