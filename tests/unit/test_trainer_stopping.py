"""The trainer does not outlive whoever reads it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WATCHED = """
import sys, time
from ocrvl_modal.engines.trainer.stopping import exit_with_supervisor
exit_with_supervisor()
print("watching", flush=True)
time.sleep(120)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
time.sleep(120)
"""


def is_running(process: int) -> bool:
    """Say whether a process runs; one that has ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 20
    while is_running(process):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


def test_a_trainer_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, WATCHED], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "watching\n"
        parent.kill()
    wait_for_end(child)


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_a_trainer_ends_when_its_supervisor_is_killed_and_its_parent_lives(is_waited_for: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"]) as supervisor:
        environment = {**os.environ, "OCRVL_SUPERVISOR_PID": str(supervisor.pid)}
        with subprocess.Popen(
            [sys.executable, "-c", WATCHED], stdout=subprocess.PIPE, text=True, env=environment
        ) as child:
            assert child.stdout
            assert child.stdout.readline() == "watching\n"
            supervisor.kill()
            if is_waited_for:
                supervisor.wait()
            assert child.wait(timeout=20) == 1


def test_a_trainer_lives_as_long_as_its_supervisor() -> None:
    environment = {**os.environ, "OCRVL_SUPERVISOR_PID": str(os.getpid())}
    brief = WATCHED.replace("120", "1.5")
    assert subprocess.run([sys.executable, "-c", brief], env=environment, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_training_ends_the_process_as_stopped(number: signal.Signals) -> None:
    code = """
import os, sys, time
from ocrvl_modal.engines.trainer.stopping import StopRequest
StopRequest().install()
print("ready", flush=True)
time.sleep(120)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.wait(timeout=20) == 75


def test_a_signal_while_training_is_only_remembered() -> None:
    from ocrvl_modal.engines.trainer.stopping import StopRequest

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stop = StopRequest()
    stop.install()
    stop.training = True
    try:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
