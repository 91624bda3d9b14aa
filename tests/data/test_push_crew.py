"""Digests and shards by processes of their own: the same bytes as by one, and errors in words whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data.stored import Shelf, make_dataset, write_image
from ocrvl_modal.data import crew
from ocrvl_modal.data.shards import effort, members
from ocrvl_modal.data.shards.digests import digest_files
from ocrvl_modal.data.shards.effort import worthwhile_processes
from ocrvl_modal.data.shards.members import Member
from ocrvl_modal.data.shards.packing import Packing, encoded, pack
from ocrvl_modal.errors import ExitCode, OcrvlError

HARNESS = Path(__file__).with_name("push_harness.py")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members.Sizes.__init__, "__defaults__", (4 << 10, 8 << 10, 24 << 10))


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes for whatever little there is to do; all that are started, none of which may be left."""
    monkeypatch.setattr(effort, "_MUCH_BYTES", 0)
    monkeypatch.setattr(effort, "usable_cores", lambda: 2)
    started: list[subprocess.Popen[bytes]] = []
    start = crew._start

    def start_and_keep() -> object:
        started.append((both := start())[0])
        return both

    monkeypatch.setattr(crew, "_start", start_and_keep)
    yield started
    assert all(process.returncode is not None for process in started)


def test_processes_are_started_where_there_is_enough_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "usable_cores", lambda: 4)
    assert worthwhile_processes(1000, 12_000 * 1000, 8) == 1
    assert worthwhile_processes(50_000, 12_000 * 50_000, 8) == 4
    assert worthwhile_processes(50_000, 12_000 * 50_000, 3) == 3
    assert worthwhile_processes(2, 1 << 30, 1) == 1


def test_shards_are_the_same_by_processes_and_in_this_one(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    made = make_dataset(tmp_path / "lines", range(300), validation=range(290, 310))
    alone = Shelf(tmp_path / "alone")
    expected = alone.push(made).index
    started = request.getfixturevalue("processes")
    shelf = Shelf(tmp_path / "crew")
    index = shelf.push(made).index
    assert len(started) == 4
    assert (index.splits, index.shards) == (expected.splits, expected.shards)
    assert len(index.shards) > 20
    for number in range(len(index.shards)):
        assert shelf.shard(index, number).read_bytes() == alone.shard(expected, number).read_bytes()
    assert shelf.push(made).new == ()


def test_a_process_that_dies_while_images_are_read_is_an_error_in_words(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_dataset(tmp_path / "lines", range(200))
    shelf = Shelf(tmp_path / "home")
    with monkeypatch.context() as patched:
        _kill(patched, lambda: len(processes) == 2)
        with pytest.raises(OcrvlError, match="a process that read the images died") as caught:
            shelf.push(made)
        assert caught.value.hint == "push again"
    assert len(shelf.push(made).new) == 2


def test_a_process_that_dies_while_shards_are_packed_is_an_error_in_words_and_nothing_is_left(
    tmp_path: Path,
    small_shards: None,
    processes: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_dataset(tmp_path / "lines", range(40))
    shelf = Shelf(tmp_path / "home")
    with monkeypatch.context() as patched:
        _kill(patched, lambda: True)
        with pytest.raises(OcrvlError, match="a process that packed the dataset died") as caught:
            shelf.push(made)
    assert caught.value.hint == "push again"
    assert list(shelf.desk.scratch.iterdir()) == []
    assert len(shelf.pull(shelf.push(made).index, tmp_path / "out")) == 41


def _kill(monkeypatch: pytest.MonkeyPatch, is_meant: Callable[[], bool]) -> None:
    """Have processes die as soon as they are started."""
    start = crew._start

    def start_and_kill() -> object:
        both = start()
        if is_meant():
            both[0].kill()
            both[0].wait()
        return both

    monkeypatch.setattr(crew, "_start", start_and_kill)


def test_what_is_wrong_with_a_file_is_told_as_by_one_process(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    paths = [str(write_image(tmp_path / f"{seed}.png", seed)) for seed in range(300)]
    missing = str(tmp_path / "missing.png")
    with pytest.raises(OcrvlError, match=r"there is no image .*missing\.png") as caught:
        digest_files([*paths, missing], {}, lambda *_: None)
    assert caught.value.code is ExitCode.DATA_INVALID
    found = [Member(file) for file in digest_files(paths, {}, lambda *_: None)]
    assert [member.file.path for member in found] == paths
    write_image(tmp_path / "7.png", 77)
    with crew.crew_for(Packing(), 2) as others:
        with pytest.raises(OcrvlError, match="changed while it was packed") as caught:
            others.call("pack", encoded(found), str(tmp_path / "1.tar"))
        assert caught.value.code is ExitCode.DATA_INVALID
        with pytest.raises(OcrvlError, match="No such file"):
            others.call("pack", encoded(found[:3]), str(tmp_path / "nowhere" / "1.tar"))
        # Whatever failed, the next one is packed; and more may ask than there are processes.
        with ThreadPoolExecutor(6) as pool:
            targets = [str(tmp_path / f"{number}.tar") for number in range(12)]
            packed = set(pool.map(lambda target: others.call("pack", encoded(found[8:40]), target), targets))
    assert packed == {pack(found[8:40], tmp_path / "alone.tar")}


def test_known_files_are_not_read_by_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(write_image(tmp_path / f"{seed}.png", seed)) for seed in range(3)]
    old = digest_files(paths, {}, lambda *_: None)
    before = {file.path: type(file)(file.path, "0" * 64, file.ending, file.stamp, settled=True) for file in old[:2]}
    told: list[tuple[int, int]] = []
    found = digest_files(paths, before, lambda *progress: told.append(progress))
    assert [file.sha256 for file in found] == ["0" * 64, "0" * 64, old[2].sha256]
    assert told[-1] == (3, 3)


@pytest.mark.slow
def test_a_push_by_processes_that_dies_anywhere_is_finished_by_the_next_one(tmp_path: Path) -> None:
    command = [sys.executable, str(HARNESS), str(tmp_path), "1", "9", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) > 4
    for one in found:
        assert one["pulled"] == found[-1]["pulled"]
        assert len(one["pulled"]) == 22
        assert one["left"] == []


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_push_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    made = make_dataset(tmp_path / "lines", range(6000))
    code = (
        "import sys; from pathlib import Path; from data.stored import Shelf;"
        "from ocrvl_modal.data.shards import effort; effort._MUCH_BYTES = 0; effort.usable_cores = lambda: 2;"
        "Shelf(Path(sys.argv[1])).push({'train': Path(sys.argv[2])})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "home"), str(made["train"])],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(workers := children.read_text().split()) < 2:
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(10) != 0
    until = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert len(Shelf(tmp_path / "home").push(made).new) == 2
