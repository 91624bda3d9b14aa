"""What a backend is to everything above it: four stores, short jobs, and training runs that outlive their starter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from ocrvl_modal.places import Places
from ocrvl_modal.runs.record import RunRecord

OnProgress = Callable[[str, int, int], None]
"""Called with what a job is doing, how many units are done, and of how many."""

StopKind = Literal["cancel", "interrupt"]
"""``cancel`` ends a run for its user; ``interrupt`` ends only the attempt. Both save a checkpoint first."""


@dataclass(frozen=True)
class StoreEntry:
    """A file or a folder in a store. ``place`` is its whole name, such as ``/data/digits``."""

    place: str
    is_folder: bool
    size_bytes: int
    modified_at: datetime


class Stores(Protocol):
    """The four stores of a backend. Places are written ``/data/…``; a missing one raises *not found*."""

    def exists(self, place: str) -> bool:
        """Say whether there is a file or a folder at ``place``."""
        ...

    def list(self, place: str) -> list[StoreEntry]:
        """Return what is in a folder, or the file itself, by name."""
        ...

    def read_bytes(self, place: str, offset: int = 0) -> bytes:
        """Return a file's bytes from ``offset`` on."""
        ...

    def write_bytes(self, place: str, data: bytes) -> None:
        """Write a file whole, in place of one that is there."""
        ...

    def get(self, place: str, destination: Path, *, force: bool = False) -> int:
        """Copy a file or a folder out of a store; return its bytes. Replaces what is there only by ``force``."""
        ...

    def put(self, source: Path, place: str, *, force: bool = False) -> int:
        """Copy a file or a folder into a store; return its bytes. Replaces what is there only by ``force``."""
        ...


class RunSlot(Protocol):
    """The sole right to work on one run, from its reservation until the spawned job ends."""

    def spawn(self, request: dict[str, Any], attempt: int) -> str:
        """Start the training job so that it outlives this process; return the id of the call."""
        ...


class Backend(Protocol):
    """One place where jobs run."""

    @property
    def name(self) -> str:
        """The backend's name, as ``--backend`` takes it."""
        ...

    @property
    def stores(self) -> Stores:
        """The stores, as this machine reaches them."""
        ...

    @property
    def places(self) -> Places:
        """The folders that jobs see."""
        ...

    def describe(self, gpu: str | None) -> str:
        """Return, for the plan, what a run would run on."""
        ...

    def require_ready(self) -> None:
        """Raise an error, with the command that mends it, where jobs could not start here."""
        ...

    def local_path(self, reference: str) -> Path:
        """Return where this machine can read a dataset that a place or a path names."""
        ...

    def stage_dataset(self, reference: str) -> str:
        """Make a dataset readable for jobs and return the reference that they use for it."""
        ...

    def call(self, job: str, request: dict[str, Any], *, on_progress: OnProgress) -> dict[str, Any]:
        """Run a short job and return its result; an error that the user can mend is raised here as it was there."""
        ...

    def reserve(self, name: str) -> AbstractContextManager[RunSlot]:
        """Take the sole right to start run ``name``; raise a usage error while another process works on it."""
        ...

    def is_alive(self, record: RunRecord) -> bool:
        """Say whether some process really works on the run."""
        ...

    def stop(self, record: RunRecord, kind: StopKind) -> None:
        """Ask the process that works on the run to save and stop; return at once."""
        ...
