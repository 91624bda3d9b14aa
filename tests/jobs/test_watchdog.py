"""The watchdog: an engine that makes no step is stopped with the reason, and its log stays of a sensible size."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import wait_until
from jobs.standin import STEPS, House
from jobs.test_supervision import DEAF, SAVE, STEP, Watch, watch  # noqa: F401 - the fixture
from ocrvl_modal import locks
from ocrvl_modal.jobs import engine_log, supervision
from ocrvl_modal.jobs.engine_log import EngineLog
from ocrvl_modal.jobs.process_marks import MARK, kill_marked, marked_processes
from ocrvl_modal.runs import checkpoints

SECOND = 1 / 60


def stall_after(watch: Watch, seconds: float) -> None:  # noqa: F811
    watch.sets = (f"limits.stall_minutes={seconds * SECOND}",)


def test_an_engine_that_logs_no_step_is_stopped_with_the_reason(watch: Watch) -> None:  # noqa: F811
    stall_after(watch, 0.3)
    ending = watch("print('reading nothing', flush=True); time.sleep(600)")
    assert ending.is_stuck
    assert ending.error is not None
    assert "logged no step for 0.005 minutes" in ending.error.message
    assert "reading nothing" in ending.error.message
    assert "--set limits.stall_minutes=0.02" in ending.error.hint
    assert not locks.is_held(watch.layout.engine_lock)


def test_every_step_gives_the_engine_its_time_again(watch: Watch) -> None:  # noqa: F811
    stall_after(watch, 1.5)
    ending = watch("".join(f"{STEP.format(step)}time.sleep(0.5)\n" for step in range(1, 6)))
    assert (ending.code, ending.is_stuck) == (0, False)


def test_the_time_that_a_checkpoint_takes_us_is_not_the_engines(
    watch: Watch,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = checkpoints.mark_complete

    def slowly(folder: Path, step: int) -> checkpoints.Checkpoint:
        time.sleep(1.0)
        return mark(folder, step)

    monkeypatch.setattr(checkpoints, "mark_complete", slowly)
    stall_after(watch, 0.7)
    assert watch(STEP.format(1) + SAVE.format(1)).code == 0
    assert watch.complete_steps == [1]


def test_a_stuck_engine_that_ignores_the_request_is_killed(
    watch: Watch,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "STOP_GRACE_S", 0.3)
    stall_after(watch, 0.3)
    ending = watch.supervisor().watch(watch.up(DEAF))
    assert (ending.code, ending.is_stuck) == (-9, True)


def test_an_engine_that_only_warns_is_stopped(
    watch: Watch,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "FLOOD_BYTES", 100_000)
    ending = watch("while True: print('a sample was skipped ' * 5)")
    assert ending.is_stuck
    assert ending.error is not None
    assert "without a step" in ending.error.message
    assert "ocrvl data check" in ending.error.hint


def test_a_flood_into_the_engines_own_log_files_is_noticed(
    watch: Watch,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "FLOOD_BYTES", 100_000)
    monkeypatch.setattr(supervision, "_LOOK_AT_LOGS_S", 0.05)
    folder = watch.layout.root / "scratch" / "logs"
    folder.mkdir(parents=True)
    ending = watch(f"""
log = open({str(folder / "workerlog.0")!r}, "w")
while True:
    log.write("a sample was skipped " * 50)
    log.flush()
    time.sleep(0.001)
""")
    assert ending.is_stuck


def test_much_output_is_no_flood_while_steps_are_made(
    watch: Watch,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "FLOOD_BYTES", 10_000)
    program = "".join(f"print('x' * 8000)\n{STEP.format(step)}" for step in range(1, 6))
    assert watch(program).code == 0
    assert [row["step"] for row in watch.rows] == [1, 2, 3, 4, 5]


def test_the_log_keeps_a_floods_beginning_and_end_and_counts_the_rest(
    watch: Watch,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_log, "STRETCH_BYTES", 1000)
    watch("for n in range(5000): print('warning', n)\n" + STEP.format(1) + "print('after', flush=True)")
    lines = watch.log.splitlines()
    assert lines[:2] == ["warning 0", "warning 1"]
    assert lines[-1] == "after"
    assert any(line.startswith("loss: 0.5") for line in lines)
    (told,) = [line for line in lines if line.startswith("[ocrvl]")]
    assert len(lines) - 1 + int(told.split()[1]) == 5002
    assert len(watch.log) < 5000


def test_a_log_never_outgrows_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_log, "LOG_BYTES", 5000)
    log = EngineLog(tmp_path / "log.txt")
    with log.opened():
        for number in range(2000):
            log.write(f"step {number}")
            log.progress()
    text = (tmp_path / "log.txt").read_text()
    assert len(text) < 5000 + 100 * 12
    assert text.splitlines()[-1] == "step 1999"
    assert "lines were left out" in text


def test_a_run_whose_engine_hangs_fails_and_goes_on_when_it_is_started_again(house: House) -> None:
    record = house.train("a", "limits.stall_minutes=0.005", hang_at=3)
    assert record.state == "failed"
    assert record.error is not None
    assert "logged no step" in record.error.message
    house.train("a", "limits.stall_minutes=30")
    record = house.record("a")
    assert (record.state, record.step, house.steps("a")) == ("done", STEPS, list(range(1, STEPS + 1)))


def test_processes_are_found_by_their_mark_in_whatever_session_they_are(tmp_path: Path) -> None:
    mark = str(tmp_path)
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    parent = subprocess.Popen([sys.executable, "-c", nested], env={**os.environ, MARK: mark}, start_new_session=True)
    wait_until(lambda: len(marked_processes(mark)) == 2, "both processes")
    assert marked_processes(mark + "x") == []
    kill_marked(mark)
    assert parent.wait() == -9
    assert marked_processes(mark) == []
