"""What is of no more use in the stores is found, judged again, and removed; what something needs stays."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from data.stored import Shelf, make_dataset
from jobs.standin import House
from ocrvl_modal import locks
from ocrvl_modal.jobs.datasets import localized
from ocrvl_modal.pins import FRAMEWORK_WHEELS
from ocrvl_modal.runs.checkpoints import mark_complete
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.upkeep.collecting import Garbage, find_garbage, remove_garbage, usage_below
from ocrvl_modal.upkeep.garbage import Wanted

ALL = Wanted(older_than=timedelta(), keep=1)
DIGEST = "ab" * 32


def tell_nobody(_what: str, _done: int, _total: int) -> None:
    """No progress."""


@pytest.fixture
def found(house: House) -> Callable[..., dict[str, Garbage]]:
    """Return what is found, by place."""

    def found(wanted: Wanted = ALL) -> dict[str, Garbage]:
        garbage, warnings = find_garbage(house.backend, wanted, tell_nobody)
        assert warnings == []
        return {one.place: one for one in garbage}

    return found


Found = Callable[..., dict[str, Garbage]]


def put(path: Path, content: bytes = b"12345678", *, days: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    age(path, days)
    return path


def age(path: Path, days: float) -> None:
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def checkpoints(house: House, name: str, *steps: int, cut_off: tuple[int, ...] = ()) -> RunLayout:
    """Give a run checkpoints of these steps."""
    layout = RunLayout.of(house.places.outputs, name)
    for step in (*steps, *cut_off):
        put(layout.checkpoint(step) / "weights")
    for step in steps:
        mark_complete(layout.checkpoint(step), step)
    return layout


def ended(house: House, name: str, state: str, *sets: str) -> None:
    """Write the record of a run that nobody works on."""
    house.submit(name, *sets)
    layout = RunLayout.of(house.places.outputs, name)
    while locks.is_held(layout.lock):
        time.sleep(0.01)
    record = json.loads(layout.record.read_text())
    layout.record.write_text(json.dumps({**record, "state": state}))


def test_of_a_run_that_ended_the_newest_complete_checkpoints_stay(house: House, found: Found) -> None:
    ended(house, "a", "failed")
    layout = checkpoints(house, "a", 10, 20, 30, cut_off=(40,))
    put(layout.set_aside / "checkpoint-25.1" / "weights")
    places = {place.removeprefix("/outputs/a/"): one.reason for place, one in found().items()}
    assert places == {
        "checkpoints/checkpoint-10": "is older than checkpoint-30 of its run, which is failed",
        "checkpoints/checkpoint-20": "is older than checkpoint-30 of its run, which is failed",
        "checkpoints/checkpoint-40": "was not saved to its end",
        "checkpoints-set-aside/checkpoint-25.1": "was set aside by its run, and is never loaded",
    }
    two = found(Wanted(timedelta(), keep=2))
    assert "/outputs/a/checkpoints/checkpoint-20" not in two


def test_a_newest_checkpoint_that_lost_a_file_does_not_stand_for_a_whole_one(house: House, found: Found) -> None:
    ended(house, "a", "failed")
    layout = checkpoints(house, "a", 10, 20, 30)
    (layout.checkpoint(30) / "weights").unlink()
    assert set(found()) == {f"/outputs/a/checkpoints/checkpoint-{step}" for step in (10, 30)}


def test_of_a_run_that_is_at_work_nothing_goes(house: House, found: Found) -> None:
    ended(house, "a", "training")
    layout = checkpoints(house, "a", 10, 20, cut_off=(30,))
    put(layout.root / ".metrics.tmp", days=3)
    lock = locks.acquire(layout.lock)
    assert lock is not None
    assert found() == {}
    os.close(lock)
    assert set(found()) == {
        "/outputs/a/.metrics.tmp",
        "/outputs/a/checkpoints/checkpoint-10",
        "/outputs/a/checkpoints/checkpoint-30",
    }


def test_a_checkpoint_that_another_run_began_at_stays(house: House, found: Found) -> None:
    ended(house, "a", "done")
    checkpoints(house, "a", 10, 20)
    ended(house, "b", "interrupted")
    record = RunLayout.of(house.places.outputs, "b").record
    begun = json.loads(record.read_text())
    record.write_text(json.dumps({**begun, "resumed_from": "/outputs/a/checkpoints/checkpoint-10"}))
    assert found() == {}
    record.write_text(json.dumps({**begun, "state": "done", "resumed_from": "/outputs/a/checkpoints/checkpoint-10"}))
    assert set(found()) == {"/outputs/a/checkpoints/checkpoint-10"}


def test_what_changed_lately_stays(house: House, found: Found) -> None:
    ended(house, "a", "failed")
    checkpoints(house, "a", 10, 20)
    assert found(Wanted(timedelta(days=1), keep=1)) == {}
    for path in (house.places.outputs / "a" / "checkpoints" / "checkpoint-10").iterdir():
        age(path, 2)
    assert set(found(Wanted(timedelta(days=1), keep=1))) == {"/outputs/a/checkpoints/checkpoint-10"}


def test_an_upload_that_no_recipe_names_goes(house: House, found: Found) -> None:
    data = house.places.data
    for name in ("named", "forgotten", "just-now"):
        put(data / "uploads" / name / "train.jsonl", days=0 if name == "just-now" else 2)
    ended(house, "a", "failed")
    recipe = RunLayout.of(house.places.outputs, "a").recipe
    lines = [
        "  train: /data/uploads/named/train.jsonl" if line.startswith("  train:") else line
        for line in recipe.read_text().splitlines()
    ]
    recipe.write_text("\n".join(lines) + "\n")
    assert set(found()) == {"/data/uploads/forgotten"}


def test_a_recipe_that_cannot_be_read_keeps_all_that_it_might_need(house: House) -> None:
    put(house.places.data / "uploads" / "forgotten" / "train.jsonl", days=2)
    put(house.places.models / ".x.0123456789ab.part" / "config.json", days=2)
    ended(house, "a", "failed")
    RunLayout.of(house.places.outputs, "a").recipe.write_text("[]")
    garbage, warnings = find_garbage(house.backend, ALL, tell_nobody)
    assert {one.place for one in garbage} == {"/models/.x.0123456789ab.part"}
    assert any("upload" in warning for warning in warnings)


def test_a_download_that_was_broken_off_goes_unless_its_writer_lives(house: House, found: Found) -> None:
    put(house.places.models / ".me--x.0123456789ab.part" / "model.safetensors.part")
    put(house.places.data / ".receipts.images-01234.part" / "images" / "a.png")
    put(house.places.wheels / ".arriving" / "cu126" / "paddle.whl.part")
    put(house.places.wheels / ".arriving" / "cu126" / "paddle.whl.part.json")
    put(house.places.wheels / ".arriving" / "cu126" / "wheels.lock.json")
    assert set(found()) == {
        "/data/.receipts.images-01234.part",
        "/models/.me--x.0123456789ab.part",
        "/wheels/.arriving/cu126/paddle.whl.part",
        "/wheels/.arriving/cu126/paddle.whl.part.json",
    }
    held = [
        locks.acquire(house.places.models / ".me--x.lock"),
        locks.acquire(house.places.data / ".receipts.lock"),
        locks.acquire(house.places.wheels / ".arriving" / "cu126" / "paddle.whl.part"),
    ]
    assert found() == {}
    for lock in held:
        assert lock is not None
        os.close(lock)


def test_what_a_crash_left_of_a_model_goes_and_a_model_of_the_users_own_stays(house: House, found: Found) -> None:
    put(house.places.models / "mine" / "config.json", b"{}", days=2)
    put(house.places.models / "cut" / "config.json", b"{}", days=2)
    put(house.places.models / "cut" / "ocrvl.json", b'{"family": "tiny", "repository": "me/cut"}', days=2)
    assert set(found()) == {"/models/cut"}


def test_a_wheel_that_no_image_pins_goes(house: House, found: Found) -> None:
    pinned = next(iter(FRAMEWORK_WHEELS.values()))
    wheels = house.places.wheels
    put(wheels / DIGEST / pinned.file_name, days=2)
    put(wheels / DIGEST / f"{pinned.cuda}.json", days=2)
    other = "cd" * 32
    put(wheels / other / "paddlepaddle_gpu-3.0.0-cp312-cp312-linux_x86_64.whl", days=2)
    put(wheels / other / "cu126.json", days=2)
    half = "ef" * 32
    put(wheels / half / pinned.file_name, days=2)
    assert {place: one.reason for place, one in found().items()} == {
        f"/wheels/{other}": "no image pins it",
        f"/wheels/{half}": "did not come whole",
    }


def test_what_crashes_left_of_writes_goes_when_it_is_old(house: House, found: Found) -> None:
    old = put(house.places.data / ".digits.abc.tmp" / "train.jsonl", days=1)
    put(house.places.models / ".x.removing" / "x" / "config.json", days=1)
    put(house.places.outputs / ".ocrvl-probe-12", days=1)
    put(house.places.data / ".fresh.tmp")
    assert set(found()) == {"/data/.digits.abc.tmp", "/models/.x.removing", "/outputs/.ocrvl-probe-12"}
    assert old.is_file()


def test_what_came_into_use_since_it_was_found_stays(house: House, found: Found) -> None:
    first = put(house.places.models / ".a.0123456789ab.part" / "x")
    second = put(house.places.models / ".b.0123456789ab.part" / "x")
    third = put(house.places.models / ".c.0123456789ab.part" / "x")
    garbage = list(found().values())
    lock = locks.acquire(house.places.models / ".b.lock")
    assert lock is not None
    third.unlink()
    third.parent.rmdir()
    gone, stays = remove_garbage(house.backend, garbage, ALL, tell_nobody)
    os.close(lock)
    assert [one.place for one in gone] == ["/models/.a.0123456789ab.part"]
    assert len(stays) == 2
    assert second.is_file() and not first.parent.exists()


def test_how_much_lies_where_is_added_up(house: House) -> None:
    put(house.places.data / "one" / "images" / "a", bytes(3000))
    put(house.places.data / "one" / "b", bytes(1000))
    put(house.places.data / "two" / ".hidden", bytes(10))
    put(house.places.data / ".x.lock", b"")
    usages = {usage.place: (usage.files, usage.size_bytes) for usage in usage_below(house.backend, "/data")}
    assert usages["/data/one"] == (2, 4000)
    assert usages["/data/two"] == (1, 10)
    assert "/data/.x.lock" not in usages
    below = {usage.place: usage.size_bytes for usage in usage_below(house.backend, "/data/one")}
    assert below == {"/data/one/images": 3000, "/data/one/b": 1000}
    assert set(usages) <= {usage.place for usage in usage_below(house.backend, "/")}


class TestStoredDatasets:
    @pytest.fixture
    def shelf(self, house: House) -> Shelf:
        return Shelf(house.home)

    @staticmethod
    def make_old(house: House) -> None:
        for path in house.places.data.rglob("*"):
            age(path, 2)

    def test_a_shard_that_no_dataset_names_goes(self, house: House, shelf: Shelf, found: Found, tmp_path: Path) -> None:
        one = shelf.push(make_dataset(tmp_path / "one", range(3))).index
        other = shelf.push(make_dataset(tmp_path / "two", range(3, 6))).index
        assert found() == {}
        house.backend.stores.remove(other.place)
        assert found() == {}
        self.make_old(house)
        assert set(found()) == {shard.place for shard in other.shards}
        remove_garbage(house.backend, found().values(), ALL, tell_nobody)
        assert found() == {}
        shelf.pull(one, tmp_path / "out")

    def test_no_shard_goes_while_a_push_is_at_work(
        self, house: House, shelf: Shelf, found: Found, tmp_path: Path
    ) -> None:
        index = shelf.push(make_dataset(tmp_path / "one")).index
        house.backend.stores.remove(index.place)
        self.make_old(house)
        claim = put(house.places.data / "datasets" / ".pushing" / "two@v1.json")
        assert found() == {}
        age(claim, 2)
        assert set(found()) == {shard.place for shard in index.shards}

    def test_an_index_that_cannot_be_read_keeps_all_shards(self, house: House, shelf: Shelf, tmp_path: Path) -> None:
        index = shelf.push(make_dataset(tmp_path / "one")).index
        house.places.resolve(f"{index.place}/dataset.json").write_text("{")
        self.make_old(house)
        garbage, warnings = find_garbage(house.backend, ALL, tell_nobody)
        assert garbage == []
        assert any("'shard'" in warning and "dataset.json" in warning for warning in warnings)

    def test_a_dataset_that_was_pushed_for_a_run_goes_when_no_recipe_names_it(
        self, house: House, shelf: Shelf, found: Found, tmp_path: Path
    ) -> None:
        made = make_dataset(tmp_path / "one")
        asked_for = shelf.push(make_dataset(tmp_path / "two", range(2)), "two").index
        pushed = shelf.push(made, automatic=True).index
        self.make_old(house)
        assert set(found()) == {pushed.place}
        shelf.push(made, automatic=True)
        assert found() == {}
        self.make_old(house)
        ended(house, "a", "failed", f"data.train={pushed.reference}")
        assert found() == {}
        house.backend.stores.remove("/outputs/a")
        ended(house, "b", "failed", f"data.train={asked_for.reference}")
        assert set(found()) == {pushed.place}
        shelf.push(made)
        self.make_old(house)
        assert found() == {}

    def test_an_unpacked_copy_goes_when_no_run_is_at_work_on_it(
        self, house: House, shelf: Shelf, found: Found, tmp_path: Path
    ) -> None:
        index = shelf.push(make_dataset(tmp_path / "one")).index
        copy = localized(house.places, index.reference).parent
        place = f"/data/.unpacked/{copy.name}"
        assert found() == {}
        self.make_old(house)
        assert set(found()) == {place}
        house.submit("a", f"data.train={index.reference}")
        layout = RunLayout.of(house.places.outputs, "a")
        record = json.loads(layout.record.read_text())
        layout.record.write_text(json.dumps({**record, "state": "training"}))
        lock = locks.acquire(layout.lock)
        assert lock is not None
        assert found() == {}
        os.close(lock)
