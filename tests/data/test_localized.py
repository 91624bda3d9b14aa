"""Datasets as jobs read them: unpacked once, never from a damaged shard, and never what somebody changed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from data.stored import Shelf, files_of, make_dataset, tell_nobody
from ocrvl_modal import files, locks
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.data.shards.index import DatasetIndex, Shard
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.jobs import datasets, verify_dataset
from ocrvl_modal.jobs.datasets import COMPLETE, UNPACKED, digest_of, localized, readable, unpacked_name
from ocrvl_modal.places import Places


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(datasets, "_WAIT_S", 0.01)
    monkeypatch.setattr(locks, "_PROBE_GRACE_S", 0.02)
    return Shelf(tmp_path / "home")


@pytest.fixture
def index(shelf: Shelf, tmp_path: Path) -> DatasetIndex:
    """A dataset in the store whose own files are gone."""
    pushed = shelf.push(make_dataset(tmp_path / "lines", range(6), validation=range(4, 8)), version="v1")
    shutil.rmtree(tmp_path / "lines")
    return pushed.index


def unpacked(shelf: Shelf, index: DatasetIndex) -> Path:
    return shelf.places.data / UNPACKED / unpacked_name(index)


def dataset_in(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_of(folder).items() if name != COMPLETE}


def overwrite(path: Path) -> None:
    """Write as many other bytes into a file, a moment later."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


@pytest.mark.parametrize("reference", ["lines@v1", "/data/datasets/lines/v1/train.jsonl"])
def test_a_stored_dataset_becomes_rows_beside_images(shelf: Shelf, index: DatasetIndex, reference: str) -> None:
    path = localized(shelf.places, reference)
    samples = read_samples(path)
    assert [sample.target for sample in samples] == [f"text {seed}" for seed in range(6)]
    assert all(sample.image == path.parent / "images" / f"{files.sha256_of(sample.image)}.png" for sample in samples)
    assert files.sha256_of(path) == digest_of(shelf.places, reference) == index.splits["train"].sha256
    assert localized(shelf.places, "lines@v1/validation") == path.with_name("validation.jsonl")


def test_it_is_unpacked_once_for_all_versions_of_the_same_content(shelf: Shelf, index: DatasetIndex) -> None:
    path = localized(shelf.places, "lines@v1")
    for number in range(len(index.shards)):
        shelf.shard(index, number).unlink()
    files.write_bytes(shelf.places.data / "datasets" / "same" / "x" / "dataset.json", index.to_json())
    assert localized(shelf.places, "lines@v1") == localized(shelf.places, "same@x") == path


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: next((folder / "images").iterdir()).unlink(),
        lambda folder: os.truncate(next((folder / "images").iterdir()), 5),
        lambda folder: overwrite(next((folder / "images").iterdir())),
        lambda folder: (folder / "train.jsonl").write_text("{}\n"),
        lambda folder: (folder / "validation.jsonl").unlink(),
        lambda folder: (folder / COMPLETE).unlink(),
        lambda folder: (folder / COMPLETE).write_text("{"),
        lambda folder: shutil.rmtree(folder / "images"),
    ],
    ids=[
        *("image gone", "image cut off", "image overwritten", "rows changed", "rows gone", "not complete"),
        *("marker damaged", "images gone"),
    ],
)
def test_a_copy_that_changed_is_unpacked_anew(shelf: Shelf, index: DatasetIndex, change: object) -> None:
    assert callable(change)
    folder = localized(shelf.places, "lines@v1").parent
    before = dataset_in(folder)
    change(folder)
    localized(shelf.places, "lines@v1")
    assert dataset_in(folder) == before


def test_a_second_job_waits_for_the_first_and_unpacks_nothing(shelf: Shelf, index: DatasetIndex) -> None:
    lock = locks.acquire(unpacked(shelf, index).with_suffix(".lock"))
    assert lock is not None
    told: list[str] = []
    found: list[Path] = []
    waiting = threading.Thread(
        target=lambda: found.append(localized(shelf.places, "lines@v1", lambda what, *_: told.append(what)))
    )
    waiting.start()
    while not told:
        assert waiting.is_alive()
    assert "waiting for another process" in told[0]
    assert not unpacked(shelf, index).exists()
    os.close(lock)
    waiting.join(20)
    assert found == [unpacked(shelf, index) / "train.jsonl"]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "damaged"),
        (lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]), "damaged"),
        (Path.unlink, "missing"),
    ],
    ids=["cut off", "flipped", "missing"],
)
def test_nothing_of_a_damaged_dataset_is_used(shelf: Shelf, index: DatasetIndex, damage: object, word: str) -> None:
    assert callable(damage)
    damage(shelf.shard(index, 1))
    with pytest.raises(OcrvlError, match=f"is {word} in the data store: .*{index.shards[1].sha256}") as caught:
        localized(shelf.places, "lines@v1")
    assert caught.value.code == ExitCode.DATA_INVALID
    assert "--name lines --version v1 --verify" in caught.value.hint
    assert [path.name for path in (shelf.places.data / UNPACKED).iterdir()] == [f"{unpacked_name(index)}.lock"]


def test_a_shard_that_is_read_wrongly_once_is_read_again(
    shelf: Shelf, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount may serve a part of a file that has just been written."""
    copy, seen = datasets.copy_verified, []

    def torn_at_first(stream: object, target: Path, shard: Shard) -> bool:
        seen.append(shard)
        if seen.count(shard) == 1:
            target.write_bytes(b"torn")
            return False
        return copy(stream, target, shard)  # type: ignore[arg-type]

    monkeypatch.setattr(datasets, "copy_verified", torn_at_first)
    assert len(read_samples(localized(shelf.places, "lines@v1"))) == 6
    assert {seen.count(shard) for shard in index.shards} == {2}


@pytest.mark.parametrize("arrives", ["whole", "damaged", "missing"])
def test_a_shard_that_a_mount_serves_wrongly_is_fetched_past_it(
    shelf: Shelf, index: DatasetIndex, tmp_path: Path, arrives: str
) -> None:
    good = {shelf.shard(index, number).name: shelf.shard(index, number).read_bytes() for number in range(3)}
    os.truncate(shelf.shard(index), 700)
    asked: list[str] = []

    def fetch(place: str, target: Path) -> None:
        asked.append(place)
        if arrives == "missing":
            raise FileNotFoundError(place)
        target.write_bytes(good[Path(place).name] + (b"" if arrives == "whole" else b"more"))

    if arrives == "whole":
        assert len(read_samples(localized(shelf.places, "lines@v1", fetch=fetch))) == 6
    else:
        with pytest.raises(OcrvlError, match="is damaged in the data store"):
            localized(shelf.places, "lines@v1", fetch=fetch)
    assert asked == [index.shards[0].place]


def test_a_disk_without_room_is_told_first(shelf: Shelf, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda _: index.size_bytes - 1)
    with pytest.raises(OcrvlError, match=r"too little room for lines@v1"):
        localized(shelf.places, "lines@v1")
    assert not unpacked(shelf, index).exists()


@pytest.mark.parametrize(("reference", "hint"), [("lines@v2", "ocrvl data ls"), ("lines@v1/test", "train, validation")])
def test_what_is_not_there_is_told(shelf: Shelf, index: DatasetIndex, reference: str, hint: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        localized(shelf.places, reference)
    assert (caught.value.code, hint in caught.value.hint) == (ExitCode.NOT_FOUND, True)


def test_files_that_an_older_version_uploaded_are_read_where_they_lie(shelf: Shelf, tmp_path: Path) -> None:
    made = make_dataset(tmp_path / "lines")
    shelf.stores.put(tmp_path / "lines", "/data/uploads/lines-0123")
    path = shelf.places.data / "uploads" / "lines-0123" / "train.jsonl"
    assert localized(shelf.places, "/data/uploads/lines-0123/train.jsonl") == path
    assert localized(shelf.places, str(made["train"])) == made["train"]
    before = digest_of(shelf.places, "/data/uploads/lines-0123/train.jsonl")
    with path.open("a") as stream:
        stream.write("\n")
    assert digest_of(shelf.places, "/data/uploads/lines-0123/train.jsonl") != before
    path.unlink()
    with pytest.raises(OcrvlError, match="not there any more"):
        digest_of(shelf.places, "/data/uploads/lines-0123/train.jsonl")


class TestBehindANetwork:
    @pytest.fixture
    def places(self, shelf: Shelf) -> Places:
        return shelf.places.model_copy(update={"remote": True})

    def test_a_stored_dataset_is_unpacked_on_the_local_disk(self, places: Places, index: DatasetIndex) -> None:
        path = localized(places, "lines@v1")
        assert path.is_relative_to(places.scratch)
        assert not (places.data / UNPACKED).exists()

    def test_loose_images_are_copied_to_it(self, shelf: Shelf, places: Places, tmp_path: Path) -> None:
        make_dataset(tmp_path / "lines")
        shelf.stores.put(tmp_path / "lines", "/data/lines")
        there = places.data / "lines" / "train.jsonl"
        assert readable(places, "/data/lines/train.jsonl") == there
        told: list[tuple[str, int, int]] = []
        copied = localized(places, "/data/lines/train.jsonl", lambda *one: told.append(one))
        assert copied.is_relative_to(places.scratch)
        here = read_samples(copied)
        assert [(sample.target, sample.image.read_bytes()) for sample in here] == [
            (sample.target, sample.image.read_bytes()) for sample in read_samples(there)
        ]
        assert all(sample.image.is_relative_to(copied.parent) for sample in here)
        assert told[-1][1:] == (4, 4)
        rows = json.loads(copied.read_text().splitlines()[0])
        assert rows["images"] == ["images/0.png"]

    def test_too_little_room_for_them_is_told(
        self, shelf: Shelf, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_dataset(tmp_path / "lines")
        shelf.stores.put(tmp_path / "lines", "/data/lines")
        monkeypatch.setattr(files, "free_bytes", lambda _: 10)
        with pytest.raises(OcrvlError, match="too little room for the images"):
            localized(places, "/data/lines/train.jsonl", tell_nobody)
        assert list((places.scratch / "datasets").iterdir()) == []


def test_shards_are_verified_where_they_lie(shelf: Shelf, index: DatasetIndex) -> None:
    request = {"places": shelf.places.model_dump(mode="json"), "shards": [shard.sha256 for shard in index.shards]}
    assert verify_dataset.run(request) == {"damaged": []}
    shelf.shard(index, 0).unlink()
    os.truncate(shelf.shard(index, 2), 10)
    assert verify_dataset.run(request) == {"damaged": [index.shards[0].sha256, index.shards[2].sha256]}
