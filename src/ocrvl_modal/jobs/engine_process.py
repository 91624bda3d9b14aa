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
from ocrvl_modal.jobs.process_marks import MARK, kill_marked

_KILL_WAIT_S = 15.0
_DRAIN_WAIT_S = 5.0


def end_leftover_engine(lock: Path, group: Path) -> int:
    """End an engine that outlived its supervisor, and return the lock that its successor inherits.

    While any process of the earlier engine lives, the lock is held, so the process group that it wrote down cannot
    have been given to somebody else. A worker that closed the lock is found by its mark.
    """
    kill_marked(str(group.absolute()))
    descriptor = locks.acquire(lock)
    if descriptor is None:
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int(group.read_text(encoding="utf-8")), signal.SIGKILL)
        deadline = time.monotonic() + _KILL_WAIT_S
        while descriptor is None and time.monotonic() < deadline:
            descriptor = locks.acquire(lock)
    if descriptor is None:
        raise OcrvlError(
            f"an engine of an earlier attempt still runs and holds {lock}",
            f"end it (see `fuser {lock}`), then start again",
        )
    group.unlink(missing_ok=True)
    return descriptor


class EngineProcess:
    """A running engine, which inherits the ``lock``; ``group`` is the file that its process group is written to.

    Lines arrive by :meth:`next_line`, in order.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], working_folder: Path, group: Path, lock: int
    ) -> None:
        self._mark = str(group.absolute())
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=working_folder,
            env={**environment, MARK: self._mark},
            pass_fds=(lock,),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._deaf = threading.Event()
        self._drained_by: float | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            files.write_text(group, str(self._process.pid))
        except BaseException:
            self.kill()
            self.wait()
            raise

    @property
    def at_end(self) -> bool:
        """Whether the engine has ended, every line has been handed out, and no more will come."""
        nobody_reads = self._deaf.is_set() or not self._reader.is_alive()
        return nobody_reads and self._process.poll() is not None and self._lines.empty()

    def next_line(self, timeout_s: float) -> str | None:
        """Return the next line without its end, or ``None`` when none came in time or none will come."""
        if self._process.poll() is not None:
            self._end_what_it_left()
        if self.at_end:
            return None
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if line is None:
            # Its output is closed: its end is all that can still come.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return line

    def ask_to_stop(self) -> None:
        """Ask all its processes to save and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all its processes at once, wherever they went."""
        self._signal(signal.SIGKILL)
        kill_marked(self._mark)

    def wait(self) -> int:
        """Wait for its end and return its exit code; negative: the signal that killed it."""
        code = self._process.wait()
        self._end_what_it_left()
        self._reader.join(_DRAIN_WAIT_S)
        return code

    def _end_what_it_left(self) -> None:
        """End what the engine started and did not end: it must not go on, using the GPU and writing files.

        A process that has left the group may still hold the pipe open, and print; nobody listens to it for long.
        """
        if self._drained_by is None:
            self.kill()
            self._drained_by = time.monotonic() + _DRAIN_WAIT_S
        elif time.monotonic() > self._drained_by:
            self._deaf.set()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if self._deaf.is_set():
                    break
                self._lines.put(line.rstrip("\r\n"))
        self._lines.put(None)
