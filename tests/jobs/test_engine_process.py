"""An engine's processes, with small programs as engines."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import wait_until
from ocrvl_modal import files, locks
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs import engine_process
from ocrvl_modal.jobs.engine_process import EngineProcess, end_leftover_engine

Start = Callable[..., EngineProcess]

# A grandchild that keeps the engine's output open; ``{}`` is what it does for ever.
GRANDCHILD = """
import os, time
if os.fork() == 0:
    {apart}
    print("grandchild", os.getpid(), flush=True)
    while True:
        {act}
        time.sleep(0.02)
time.sleep(0.3)
print("engine ends", flush=True)
"""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_DRAIN_WAIT_S", 0.3)
    monkeypatch.setattr(locks, "_PROBE_GRACE_S", 0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts a program as an engine; what still runs at the end is ended."""
    started: list[EngineProcess] = []

    def start(program: str, **environment: str) -> EngineProcess:
        lock = locks.acquire(tmp_path / "engine.lock")
        assert lock is not None
        try:
            process = EngineProcess(
                [sys.executable, "-I", "-S", "-u", "-c", program],
                {**os.environ, **environment},
                tmp_path,
                tmp_path / "engine.group",
                lock,
            )
        finally:
            os.close(lock)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def lines_of(process: EngineProcess) -> list[str]:
    """All lines to the end of the engine."""
    lines = []
    while not process.at_end:
        line = process.next_line(0.1)
        if line is not None:
            lines.append(line)
    return lines


def first_line(process: EngineProcess) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (line := process.next_line(0.1)) is not None:
            return line
    raise AssertionError("it said nothing")


def lives(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_lines_come_in_order_without_their_ends_and_none_is_lost(start: Start) -> None:
    process = start("for n in range(5000): print(n)")
    assert lines_of(process) == [str(n) for n in range(5000)]
    assert process.wait() == 0


def test_what_goes_to_standard_error_comes_too(start: Start) -> None:
    assert lines_of(start("import sys; print('a'); print('b', file=sys.stderr); print('c')")) == ["a", "b", "c"]


def test_a_last_line_without_its_end_and_bytes_that_are_no_text_come_too(start: Start) -> None:
    assert lines_of(start(r"import os; os.write(1, b'ab\xff\r\nlast')")) == ["ab\ufffd", "last"]


def test_no_line_in_time_is_no_end(start: Start) -> None:
    process = start("import time; time.sleep(0.4); print('late')")
    assert process.next_line(0.01) is None
    assert not process.at_end
    assert lines_of(process) == ["late"]
    assert process.next_line(0.01) is None


@pytest.mark.parametrize(
    ("program", "code"), [("", 0), ("raise SystemExit(75)", 75), ("import os; os.kill(os.getpid(), 9)", -9)]
)
def test_the_exit_code_says_how_it_ended(start: Start, program: str, code: int) -> None:
    process = start(program)
    assert lines_of(process) == []
    assert process.wait() == code


def test_an_engine_that_closes_its_output_is_not_at_its_end(start: Start) -> None:
    process = start("import os, time; os.close(1); os.close(2); time.sleep(0.5)")
    while process.next_line(0.05) is None and not process.at_end and lives(process_of(process)):
        pass
    assert not lives(process_of(process))
    assert lines_of(process) == []
    assert process.wait() == 0


def process_of(process: EngineProcess) -> int:
    return process._process.pid


@pytest.mark.parametrize("act", ["pass", "print('chatter', flush=True)"], ids=["silent", "chattering"])
@pytest.mark.parametrize("apart", ["pass", "os.setsid()"], ids=["of its group", "of its own"])
def test_a_grandchild_that_keeps_the_pipe_open_does_not_keep_the_engine_from_ending(
    start: Start, act: str, apart: str
) -> None:
    process = start(GRANDCHILD.format(act=act, apart=apart))
    lines: list[str] = []
    deadline = time.monotonic() + 20
    while not process.at_end and time.monotonic() < deadline:
        line = process.next_line(0.1)
        if line is not None:
            lines.append(line)
    grandchild = next(int(line.split()[1]) for line in lines if line.startswith("grandchild"))
    try:
        assert process.at_end
        assert "engine ends" in lines
        assert process.wait() == 0
        if apart == "pass":
            wait_until(lambda: not lives(grandchild), "the grandchild's end", 10)
    finally:
        if lives(grandchild):
            os.kill(grandchild, signal.SIGKILL)


def test_lines_that_were_printed_before_the_end_are_all_handed_out_however_late(start: Start) -> None:
    process = start("for n in range(200): print(n)")
    wait_until(lambda: not lives(process_of(process)), "the engine's end")
    lines = []
    while not process.at_end:
        line = process.next_line(0.1)
        if line is not None:
            lines.append(line)
            time.sleep(0.005)
    assert lines == [str(n) for n in range(200)]


def test_asking_to_stop_reaches_the_engine_and_its_children(start: Start) -> None:
    process = start("""
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, who + b" saves\\n"), os._exit(75)))
who = b"child" if os.fork() == 0 else b"engine"
os.write(1, who + b"\\n")
while True:
    time.sleep(0.01)
""")
    assert {first_line(process), first_line(process)} == {"engine", "child"}
    process.ask_to_stop()
    said = lines_of(process)
    assert "engine saves" in said
    assert process.wait() == 75
    assert [line for line in said if line not in {"engine saves", "child saves"}] == []


def test_a_kill_ends_the_whole_group(start: Start) -> None:
    process = start(GRANDCHILD.format(act="pass", apart="pass").replace("time.sleep(0.3)", "time.sleep(60)"))
    grandchild = int(first_line(process).split()[1])
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not lives(grandchild), "the grandchild's end", 10)


def test_signals_to_an_engine_that_has_ended_are_no_error(start: Start) -> None:
    process = start("")
    lines_of(process)
    process.wait()
    process.ask_to_stop()
    process.kill()


def test_the_engine_holds_the_lock_and_its_group_is_written_down(start: Start, tmp_path: Path) -> None:
    process = start("import time; print('up'); time.sleep(60)")
    first_line(process)
    assert locks.is_held(tmp_path / "engine.lock")
    assert os.getpgid(process_of(process)) == int((tmp_path / "engine.group").read_text())
    process.kill()
    process.wait()
    assert not locks.is_held(tmp_path / "engine.lock")


def test_an_engine_whose_group_cannot_be_written_down_is_not_left_running(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        start("import time; time.sleep(60)")
    assert not locks.is_held(tmp_path / "engine.lock")


def test_a_program_that_is_not_there_is_an_error_and_frees_the_lock(tmp_path: Path) -> None:
    lock = locks.acquire(tmp_path / "engine.lock")
    assert lock is not None
    with pytest.raises(FileNotFoundError):
        EngineProcess([str(tmp_path / "no-such-program")], {}, tmp_path, tmp_path / "engine.group", lock)
    os.close(lock)
    assert not locks.is_held(tmp_path / "engine.lock")


def test_without_a_leftover_engine_the_lock_is_simply_taken(tmp_path: Path) -> None:
    descriptor = end_leftover_engine(tmp_path / "engine.lock", tmp_path / "engine.group")
    assert locks.is_held(tmp_path / "engine.lock")
    os.close(descriptor)


def test_a_leftover_engine_is_ended_with_all_its_processes_and_its_lock_taken(start: Start, tmp_path: Path) -> None:
    leftover = start(GRANDCHILD.format(act="pass", apart="pass").replace("time.sleep(0.3)", "time.sleep(60)"))
    grandchild = int(first_line(leftover).split()[1])
    descriptor = end_leftover_engine(tmp_path / "engine.lock", tmp_path / "engine.group")
    assert leftover.wait() == -signal.SIGKILL
    wait_until(lambda: not lives(grandchild), "the grandchild's end", 10)
    assert locks.is_held(tmp_path / "engine.lock")
    os.close(descriptor)


def test_the_group_of_an_engine_that_is_gone_is_forgotten_before_its_number_is_another_process(tmp_path: Path) -> None:
    (tmp_path / "engine.group").write_text("4242")
    os.close(end_leftover_engine(tmp_path / "engine.lock", tmp_path / "engine.group"))
    assert not (tmp_path / "engine.group").exists()


def test_a_leftover_that_cannot_be_ended_is_an_error_that_names_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "_KILL_WAIT_S", 0.1)
    lock = tmp_path / "engine.lock"
    descriptor = locks.acquire(lock)
    assert descriptor is not None
    with pytest.raises(OcrvlError, match="still runs") as caught:
        end_leftover_engine(lock, tmp_path / "engine.group")
    assert str(lock) in caught.value.hint
    os.close(descriptor)
