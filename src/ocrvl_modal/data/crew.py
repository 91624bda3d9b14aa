"""Who works on the parts of a dataset: some processes side by side, or this one where there is little to do.

The processes are started afresh and told their work by a pipe, so that neither threads nor the caller's own main
module matter; one whose caller is gone ends by itself.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, ClassVar, Protocol

import ocrvl_modal
from ocrvl_modal.errors import OcrvlError, of_the_system

_MODULE = "ocrvl_modal.data.crew_worker"
_AHEAD = 2
_WAIT_S = 5.0


class Task(Protocol):
    """What a crew is told: who does the work, and how an error names it, such as "checked the dataset"."""

    did: ClassVar[str]
    again: ClassVar[str]

    def worker(self) -> object:
        """Return the object whose methods are called: one in each process, for as long as the crew is there."""


class Crew(Protocol):
    """Whoever works: ``size`` processes. It is asked by :meth:`run` or by :meth:`call`, not by both at once."""

    size: int

    def run(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what a method of the task's worker returns, in the calls' order.

        Some calls are sent ahead of their results: neither may be larger than a pipe holds where both are large.
        """

    def call(self, method: str, *arguments: Any) -> Any:
        """Return what a method of whichever worker is free returns; threads may call at once, and wait."""


class Alone:
    """Works in this process, on one call at a time: threads that compute would only take turns, at a cost."""

    def __init__(self, task: Task) -> None:
        self.size = 1
        self._again = task.again
        self._worker = task.worker()
        self._lock = Lock()

    def run(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the results one by one."""
        for arguments in calls:
            yield self.call(method, *arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        """Return the result of one call."""
        try:
            with self._lock:
                return getattr(self._worker, method)(*arguments)
        except OSError as error:
            raise of_the_system(error, self._again) from error


class Workers:
    """Works in processes of its own, each of which has its next call when it is done with one."""

    def __init__(self, task: Task, connections: list[Connection]) -> None:
        self.size = len(connections)
        self._task = task
        self._connections = connections
        self._free: SimpleQueue[Connection] = SimpleQueue()
        for connection in connections:
            self._free.put(connection)

    def run(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the results, in turns: the calls are much alike, so that nobody waits long for another."""
        waiting: deque[Connection] = deque()
        turns = iter(_in_turn(self._connections))
        for arguments in calls:
            if len(waiting) == _AHEAD * len(self._connections):
                yield _received(self._task, waiting.popleft())
            connection = next(turns)
            _send_bytes(self._task, connection, pickle.dumps((method, arguments)))
            waiting.append(connection)
        while waiting:
            yield _received(self._task, waiting.popleft())

    def call(self, method: str, *arguments: Any) -> Any:
        """Return the result of one call, by whichever process is free first."""
        connection = self._free.get()
        try:
            _send_bytes(self._task, connection, pickle.dumps((method, arguments)))
            return _received(self._task, connection)
        finally:
            # One that died goes back too, so that whoever waits for it is told.
            self._free.put(connection)


@contextmanager
def crew_for(task: Task, processes: int) -> Iterator[Crew]:
    """Yield a crew of so many processes; they are ended with the block, however it ends."""
    told = _pickled(task) if processes > 1 else None
    if told is None:
        yield Alone(task)
        return
    started: list[tuple[subprocess.Popen[bytes], Connection]] = []
    try:
        for _ in range(processes):
            started.append(_start())
        connections = [connection for _, connection in started]
        for connection in connections:
            _send_bytes(task, connection, told)
        yield Workers(task, connections)
    finally:
        for process, connection in started:
            connection.close()
            process.kill()
            process.wait(_WAIT_S)


def _start() -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=_environment(),
            # Ctrl-C is for the caller, who ends the others.
            start_new_session=True,
        )
    return process, ours


def _environment() -> dict[str, str]:
    """Return an environment in which this package is found, and every process has the same hash of a text."""
    ours = str(Path(ocrvl_modal.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}


def _pickled(task: Task) -> bytes | None:
    """Return a task as it travels, ``None`` where it holds a function that no other process can call."""
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _in_turn(connections: list[Connection]) -> Iterator[Connection]:
    while True:
        yield from connections


def _send_bytes(task: Task, connection: Connection, message: bytes) -> None:
    try:
        connection.send_bytes(message)
    except OSError as error:
        raise _died(task) from error


def _received(task: Task, connection: Connection) -> Any:
    try:
        result = connection.recv()
    except (EOFError, OSError) as error:
        raise _died(task) from error
    if isinstance(result, OcrvlError):
        raise result
    if isinstance(result, OSError):
        raise of_the_system(result, task.again) from result
    return result


def _died(task: Task) -> OcrvlError:
    return OcrvlError(f"a process that {task.did} died, most likely for want of memory", task.again)
