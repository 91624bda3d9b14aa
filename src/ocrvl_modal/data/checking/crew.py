"""Who checks the chunks of a file: some processes side by side, or this one where there is little to do.

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
from typing import Any, Protocol

import ocrvl_modal
from ocrvl_modal.data.checking.part import PartChecker, Task
from ocrvl_modal.errors import OcrvlError, of_the_system

_MODULE = "ocrvl_modal.data.checking.worker"
_AHEAD = 2
_WAIT_S = 5.0


class Crew(Protocol):
    """Whoever checks chunks: ``size`` processes."""

    size: int

    def run(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what a method of :class:`~ocrvl_modal.data.checking.part.PartChecker` returns, in the calls' order."""


class Alone:
    """Checks in this process."""

    def __init__(self, task: Task) -> None:
        self.size = 1
        self._checker = PartChecker(task)

    def run(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the results one by one."""
        for arguments in calls:
            try:
                yield getattr(self._checker, method)(*arguments)
            except OSError as error:
                raise of_the_system(error, "check again") from error


class Workers:
    """Checks in processes of its own, each of which has its next call when it is done with one."""

    def __init__(self, connections: list[Connection]) -> None:
        self.size = len(connections)
        self._connections = connections

    def run(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the results, in turns: the calls are much alike, so that nobody waits long for another."""
        waiting: deque[Connection] = deque()
        turns = iter(_in_turn(self._connections))
        for arguments in calls:
            if len(waiting) == _AHEAD * len(self._connections):
                yield _received(waiting.popleft())
            connection = next(turns)
            _send(connection, (method, arguments))
            waiting.append(connection)
        while waiting:
            yield _received(waiting.popleft())


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
            _send_bytes(connection, told)
        yield Workers(connections)
    finally:
        for process, connection in started:
            connection.close()
            process.kill()
            process.wait(_WAIT_S)


def processes_here() -> int:
    """Return how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


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


def _send(connection: Connection, message: object) -> None:
    _send_bytes(connection, pickle.dumps(message))


def _send_bytes(connection: Connection, message: bytes) -> None:
    try:
        connection.send_bytes(message)
    except OSError as error:
        raise _died() from error


def _received(connection: Connection) -> Any:
    try:
        result = connection.recv()
    except (EOFError, OSError) as error:
        raise _died() from error
    if isinstance(result, OSError):
        raise of_the_system(result, "check again") from result
    return result


def _died() -> OcrvlError:
    return OcrvlError("a process that checked the dataset died, most likely for want of memory", "check again")
