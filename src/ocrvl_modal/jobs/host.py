"""What a job may ask of whatever runs it: to keep what it wrote, and to say how it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.errors import RunCancelled


def _nothing() -> None:
    return


class HostTimeIsUp(Exception):
    """Raised by a job that has saved, and needs more time than its host gives at once."""


@dataclass(frozen=True)
class Host:
    """The host of a job; as it is, a process of this machine, which keeps all that is written anyway.

    ``call_id`` is what the host calls this piece of work. ``commit`` makes what was written so far visible to others
    and safe from the host's death; it may fail, and does not raise. ``cancellations`` are the exceptions by which the
    host ends a job for good. ``gives_secrets`` says that the host has only the secrets that the recipe names, so that
    the engine may see every variable. ``restarts`` says that a job which the host interrupts or loses is started again
    by the host itself: then an interrupted job must raise what interrupted it. ``longest_s`` is how long the host lets
    it run: a job that needs longer saves in time, and raises :class:`HostTimeIsUp` to be started again. ``own_disk``
    is a folder that nobody else sees and that goes with the host, where the stores are no ordinary disks; ``fetch``
    brings a file of a store, by its place, to that disk past what the stores are mounted with.
    """

    call_id: str
    commit: Callable[[], None] = _nothing
    cancellations: tuple[type[BaseException], ...] = (RunCancelled,)
    gives_secrets: bool = False
    restarts: bool = False
    longest_s: float | None = None
    own_disk: Path | None = None
    fetch: Callable[[str, Path], None] | None = None

    @classmethod
    def this_process(cls) -> Host:
        """Return the host that a job has when nobody names one."""
        return cls(call_id=str(os.getpid()))
