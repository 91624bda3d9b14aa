"""An engine's processes: started as one group, read line by line, stopped together, and never left behind."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ocrvl_modal import files, locks
from ocrvl_modal.errors import OcrvlError

_KILL_WAIT_S = 15.0
_DRAIN_WAIT_S = 5.0


def end_leftover_engine(lock: Path, group: Path) -> int:
    """End an engine that outlived its supervisor, and return the lock that its successor inherits.

    While any process of the earlier engine lives, the lock is held, so the process group that it wrote down cannot
    have been given to somebody else.
    """
    descriptor = locks.acquire(lock)
    if descriptor is not None:
        return descriptor
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int(group.read_text(encoding="utf-8")), signal.SIGKILL)
    deadline = time.monotonic() + _KILL_WAIT_S
    while time.monotonic() < deadline:
        descriptor = locks.acquire(lock)
        if descriptor is not None:
            return descriptor
    raise OcrvlError(
        f"an engine of an earlier attempt still runs and holds {lock}", f"end it (see `fuser {lock}`), then start again"
    )


class EngineProcess:
    """A running engine, which inherits the ``lock``; ``group`` is the file that its process group is written to.

    Lines arrive by :meth:`next_line`, in order.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], working_folder: Path, group: Path, lock: int
    ) -> None:
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=working_folder,
            env=dict(environment),
            pass_fds=(lock,),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        files.write_text(group, str(self._process.pid))
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._at_end = False

    @property
    def at_end(self) -> bool:
        """Whether every line has been handed out and no more will come."""
        return self._at_end

    def next_line(self, timeout_s: float) -> str | None:
        """Return the next line without its end, or ``None`` when none came in time or none will come."""
        if self._at_end:
            return None
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            # A grandchild may hold the pipe open after the engine itself has ended.
            self._at_end = self._process.poll() is not None and not self._reader_may_deliver()
            return None
        if line is None:
            self._at_end = True
        return line

    def ask_to_stop(self) -> None:
        """Ask all its processes to save and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all its processes at once."""
        self._signal(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end and return its exit code; negative: the signal that killed it."""
        code = self._process.wait()
        # What the engine started and did not end must not go on, using the GPU and writing files.
        self._signal(signal.SIGKILL)
        self._reader.join(_DRAIN_WAIT_S)
        return code

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _reader_may_deliver(self) -> bool:
        self._reader.join(_DRAIN_WAIT_S)
        return not self._lines.empty()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:
                self._lines.put(line.rstrip("\r\n"))
        self._lines.put(None)
