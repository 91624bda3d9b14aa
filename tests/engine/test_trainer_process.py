"""The trainer as a process: killed, stopped, orphaned, out of disk, out of luck."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE, CheckpointSaved, EngineFailed, StepLogged
from ocrvl_modal.errors import ExitCode

MakeWork = Callable[..., Any]


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """Read the process's output up to the line that begins so; return all of it."""
    assert process.stdout
    read = ""
    for line in process.stdout:
        read += line
        if line.startswith(wanted):
            return read
    raise AssertionError(f"it ended with {process.wait()} and without '{wanted}':\n{read}")


def test_a_run_killed_between_checkpoints_goes_on_bit_identical(make_work: MakeWork) -> None:
    straight = make_work("straight", max_steps=8)
    expected = straight.losses(straight.train_as_child())

    cut = make_work("cut", max_steps=8)
    with cut.start() as process:
        before = read_until(process, "saved checkpoint-3")
        read_until(process, "loss:")
        process.kill()
    shutil.rmtree(cut.checkpoints / "checkpoint-6", ignore_errors=True)
    after = cut.resumed(3).train_as_child()

    assert list(cut.losses(after)) == [4, 5, 6, 7, 8]
    assert {**cut.losses(before), **cut.losses(after)} == expected
    assert cut.weights(8) == straight.weights(8)


@pytest.mark.parametrize(
    ("number", "sets"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ("batch.num_workers=1",))],
    ids=["alone", "with worker processes"],
)
def test_a_trainer_that_is_asked_to_stop_finishes_its_step_and_saves(
    make_work: MakeWork, number: signal.Signals, sets: tuple[str, ...]
) -> None:
    work = make_work("stopped", "checkpoint.save_steps=100000", *sets, max_steps=100_000)
    with work.start(start_new_session=True) as process:
        read = read_until(process, "loss:")
        os.killpg(process.pid, number)
        assert process.stdout
        events = work.events(read + process.stdout.read())
        assert process.wait(timeout=60) == STOPPED_EXIT_CODE
    *steps, saved = events
    assert isinstance(steps[-1], StepLogged)
    assert saved == CheckpointSaved(steps[-1].step, work.checkpoint(steps[-1].step))
    assert work.weights(saved.step)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="signal handlers are looked up in /proc")
def test_a_trainer_that_is_asked_to_stop_while_it_loads_ends_at_once(make_work: MakeWork) -> None:
    with make_work("early").start() as process:
        while not handles_sigterm(process.pid):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == STOPPED_EXIT_CODE
    assert output == ""


def handles_sigterm(process: int) -> bool:
    """Say whether a process has a handler of its own for SIGTERM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_trainer_ends_when_its_supervisor_is_killed(make_work: MakeWork) -> None:
    work = make_work("orphan", "checkpoint.save_steps=100000", max_steps=100_000)
    supervisor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    config = work.engine.write_config(work.job)
    environment = {**os.environ, **work.engine.environment(work.job), "OCRVL_SUPERVISOR_PID": str(supervisor.pid)}
    with subprocess.Popen(
        work.engine.command(work.job, config), env=environment, stdout=subprocess.PIPE, text=True
    ) as trainer:
        read_until(trainer, "loss:")
        supervisor.kill()
        supervisor.wait()
        assert trainer.wait(timeout=20) == 1


def test_a_trainer_that_fails_says_why_in_its_last_line(make_work: MakeWork) -> None:
    work = make_work("bad", "data.max_seq_len=16")
    output = work.train_as_child(code=1)
    failed = work.events(output)[-1]
    assert isinstance(failed, EngineFailed)
    assert failed.error.code is ExitCode.DATA_INVALID
    assert "Traceback" not in output


MOUNT = 'mount -t tmpfs -o size="$ROOM" tmpfs "$DISK"'


def on_small_disk(script: str, *command: str, room: str, disk: Path, **environment: str) -> Any:
    """Run a command where the folder ``disk`` is a file system of its own, with so much ``room``."""
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-c", f"{MOUNT} && {script}", "sh", *command],
        env={**os.environ, **environment, "DISK": str(disk), "ROOM": room},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """Return a folder for :func:`on_small_disk`; skip where the kernel forbids it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("unshare") or on_small_disk("true", room="1m", disk=disk).returncode:
        pytest.skip("this user may mount no file system here, so no disk can be filled")
    return disk


@pytest.mark.parametrize(
    ("room", "kept"),
    [("3m", []), ("10m", ["checkpoint-1", "checkpoint-2"])],
    ids=["before training", "while a checkpoint is written"],
)
def test_a_full_disk_is_a_clear_error_that_leaves_nothing_half_done(
    make_work: MakeWork, small_disk: Path, room: str, kept: list[str]
) -> None:
    work = make_work("full", "checkpoint.save_steps=1", checkpoints=small_disk / "checkpoints")
    command = work.engine.command(work.job, work.engine.write_config(work.job))
    done = on_small_disk(
        '"$@"; code=$?; ls -A "$DISK/checkpoints"; exit $code',
        *command,
        room=room,
        disk=small_disk,
        **work.engine.environment(work.job),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (error,) = (event.error for event in work.events(done.stdout) if isinstance(event, EngineFailed))
    assert "the disk is full" in error.message
    assert "free" in error.hint
    after_the_error = done.stdout.rpartition("error: ")[2].splitlines()[1:]
    assert after_the_error == kept
