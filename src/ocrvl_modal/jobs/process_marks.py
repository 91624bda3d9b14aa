"""Finding every process that came of an engine, also those that left its process group.

Paddle's launcher starts each worker in a session of its own, and closes the files that it inherited. Neither the group
nor a lock leads to such a worker, which would train on, on a GPU that is paid for. What it keeps is its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "OCRVL_ENGINE"
"""Variable that an engine's processes inherit; its value names the run that they work for."""

_PROCESSES = Path("/proc")
_PATIENCE_S = 5.0
_ROUND_S = 0.02


def marked_processes(mark: str) -> list[int]:
    """Return the living processes with this mark, but not the one that asks; none where ``/proc`` does not exist."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in _PROCESSES.glob("[0-9]*"):
        # A process may end while it is looked at, and those of other users do not show their environment.
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def kill_marked(mark: str) -> None:
    """End every process with this mark, and those that they start meanwhile."""
    deadline = time.monotonic() + _PATIENCE_S
    while (found := marked_processes(mark)) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_ROUND_S)
