from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import wait_until
from ocrvl_modal import locks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lock"


@contextmanager
def holder(descriptor: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing but inherit the descriptor."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(60)"],
        pass_fds=(descriptor,),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def taken(path: Path) -> int:
    descriptor = locks.acquire(path)
    assert descriptor is not None
    return descriptor


def test_a_lock_is_held_until_its_descriptor_is_closed(path: Path) -> None:
    descriptor = taken(path)
    assert locks.is_held(path)
    os.close(descriptor)
    assert not locks.is_held(path)


def test_a_lock_that_nobody_ever_took_is_free_and_looking_makes_no_file(path: Path) -> None:
    assert not locks.is_held(path)
    assert not path.exists()


def test_a_second_taker_gets_nothing_even_in_the_same_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_PROBE_GRACE_S", 0.05)
    descriptor = taken(path)
    assert locks.acquire(path) is None
    os.close(descriptor)
    os.close(taken(path))


def test_a_child_that_inherits_the_descriptor_holds_the_lock_when_the_parent_lets_go(path: Path) -> None:
    descriptor = taken(path)
    with holder(descriptor):
        os.close(descriptor)
        assert locks.is_held(path)
    assert not locks.is_held(path)


def test_a_child_that_does_not_inherit_it_does_not_hold_it(path: Path) -> None:
    descriptor, other = taken(path), taken(path.with_name("other"))
    with holder(other):
        os.close(descriptor)
        os.close(other)
        assert not locks.is_held(path)


def test_the_kernel_frees_the_lock_of_a_process_that_was_killed(path: Path) -> None:
    descriptor = taken(path)
    with holder(descriptor) as process:
        os.close(descriptor)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not locks.is_held(path)
        os.close(taken(path))


def test_one_who_looks_is_not_taken_for_a_holder_by_another_who_looks(path: Path) -> None:
    os.close(taken(path))
    with path.open() as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        assert not locks.is_held(path)


def test_those_who_only_look_see_a_free_lock_as_free_and_never_keep_it_from_its_taker(path: Path) -> None:
    os.close(taken(path))
    ended = threading.Event()
    seen: list[bool] = []

    def look() -> None:
        while not ended.is_set():
            seen.append(locks.is_held(path))

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        wait_until(lambda: len(seen) > 50, "looks at a free lock")
        assert not any(seen)
        for _ in range(20):
            os.close(taken(path))
    finally:
        ended.set()
        for looker in lookers:
            looker.join()
