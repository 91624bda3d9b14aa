"""One trainer process for each device, started and ended together.

The processes find each other by the variables that torchrun sets, so ``torchrun -m ocrvl_modal.engines.trainer`` works
too. It is not used here because it ends with code 1 however its workers end, which hides that they saved and stopped,
and because it puts each worker into a session of its own, where a signal to the engine's process group misses it.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE
from ocrvl_modal.engines.process_group import free_port

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0

Child = subprocess.Popen[bytes]


def launch(config: Path, count: int) -> int:
    """Run ``count`` trainers on ``config`` and return the code that all of them together end with."""
    children: list[Child] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    port = free_port()
    for rank in range(count):
        children.append(_start(config, rank, count, port))
    return _wait(children)


def _start(config: Path, rank: int, count: int, port: int) -> Child:
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    command = [sys.executable, "-m", "ocrvl_modal.engines.trainer", str(config)]
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    # The supervisor may have handed down an open lock, which the processes must hold as long as they live.
    return subprocess.Popen(command, env=environment, close_fds=False)


def _wait(children: list[Child]) -> int:
    """Wait for all, and return the code of the first that ended badly, else of one that was asked to stop.

    Trainers end together. Where one has ended the others follow at once, or would wait for it for ever.
    """
    ended: list[Child] = []
    deadline = math.inf
    while len(ended) < len(children) and time.monotonic() < deadline:
        ended += [child for child in children if child not in ended and child.poll() is not None]
        if ended:
            deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
        time.sleep(_POLL_SECONDS)
    for child in children:
        if child not in ended:
            child.kill()
            child.wait()
    codes = [child.returncode for child in ended]
    failures = [code for code in codes if code not in (0, STOPPED_EXIT_CODE)]
    # The first to end is the cause; what others say after it is that they lost it.
    return int(codes[0] or (failures or [max(codes)])[0])
