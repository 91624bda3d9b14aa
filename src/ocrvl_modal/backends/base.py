"""What a backend is to everything above it: four stores, short jobs, and training runs that outlive their starter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from ocrvl_modal.models import FamilyMember
    from ocrvl_modal.places import Places
    from ocrvl_modal.recipe_schema import TrainRecipe
    from ocrvl_modal.runs.record import RunRecord

OnProgress = Callable[[str, int, int], None]
"""Called with what a job is doing, how many units are done, and of how many."""

StopKind = Literal["cancel", "interrupt"]
"""``cancel`` ends a run for its user; ``interrupt`` ends only the attempt. Both save a checkpoint first."""


@dataclass(frozen=True)
class StoreEntry:
    """A file or a folder in a store. ``place`` is its whole name, such as ``/data/digits``.

    A folder's size is ``None`` where adding it up would mean asking for every file in it.
    """

    place: str
    is_folder: bool
    size_bytes: int | None
    modified_at: datetime


@dataclass(frozen=True)
class Pulse:
    """Whether some process really works on a run; where none does, why not, as far as the backend knows."""

    alive: bool
    reason: str = ""
    cancelled: bool = False


@dataclass(frozen=True)
class StagedDataset:
    """How jobs reach a dataset; ``sha256`` is its digest there, where that is another than its file's here."""

    reference: str
    sha256: str | None = None


class Stores(Protocol):
    """The four stores of a backend. Places are written ``/data/…``; a missing one raises *not found*."""

    def exists(self, place: str) -> bool:
        """Say whether there is a file or a folder at ``place``."""
        ...

    def list(self, place: str) -> list[StoreEntry]:
        """Return what is in a folder, or the file itself, by name."""
        ...

    def walk(self, place: str) -> Sequence[StoreEntry]:
        """Return every file at and below a place, hidden ones too, by name; none where nothing is there."""
        ...

    def read_bytes(self, place: str, offset: int = 0) -> bytes:
        """Return a file's bytes from ``offset`` on."""
        ...

    def write_bytes(self, place: str, data: bytes) -> None:
        """Write a file whole, in place of one that is there."""
        ...

    def write_files(self, contents: Mapping[str, bytes]) -> None:
        """Write several files whole; a reader who sees one of a store sees all of that store, where it can."""
        ...

    def get(self, place: str, destination: Path, *, force: bool = False) -> int:
        """Copy a file or a folder out of a store; return its bytes. Replaces what is there only by ``force``."""
        ...

    def put(self, source: Path, place: str, *, force: bool = False) -> int:
        """Copy a file or a folder into a store; return its bytes. Replaces what is there only by ``force``."""
        ...

    def take(self, source: Path, place: str) -> None:
        """Bring a file into a store, in place of one that is there; it is gone from this machine afterwards."""
        ...

    def remove(self, place: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        ...


class RunSlot(Protocol):
    """The sole right to work on one run, from its reservation until the spawned job ends."""

    def prepare(self, recipe: TrainRecipe, member: FamilyMember, say: Callable[[str], None]) -> str:
        """Do all that can fail before the run is recorded; return the id of the run's app, where it gets one."""
        ...

    def spawn(self, request: dict[str, Any], attempt: int) -> str:
        """Start the training job so that it outlives this process; return the id of the call."""
        ...


class Backend(Protocol):
    """One place where jobs run."""

    name: str
    """The backend's name, as ``--backend`` takes it."""
    poll_s: float
    """How often it is fair to ask how a run stands."""
    stops_on_interrupt: bool
    """Whether Ctrl-C while following a run stops the run; else the run goes on by itself."""
    stores: Stores
    """The stores, as this machine reaches them."""
    places: Places
    """The folders that jobs see."""

    def where(self, store: str) -> str:
        """Return, for people, where a store really is."""
        ...

    def describe(self, recipe: TrainRecipe) -> str:
        """Return, for the plan, what a run would run on."""
        ...

    def with_hardware(self, recipe: TrainRecipe, member: FamilyMember) -> TrainRecipe:
        """Return the recipe with the backend's own defaults; raise a usage error for what it cannot give."""
        ...

    def devices(self, recipe: TrainRecipe) -> int:
        """Return how many processes a run trains with, one a device."""
        ...

    def require_ready(self, engine: str | None = None) -> None:
        """Raise an error, with the command that mends it, where jobs, or that engine, could not start here."""
        ...

    def readable_path(self, reference: str, on_progress: OnProgress | None = None) -> Path | None:
        """Return where this machine reads a dataset; ``None`` where only a job can. It may have to be unpacked first.

        Raises *not found*, with the command that fills it, for an empty place.
        """
        ...

    def identify_model(self, name: str) -> FamilyMember:
        """Return the member that the model in a folder or at a place belongs to; raise *not found* without one."""
        ...

    def stage_datasets(self, datasets: Mapping[str, str], on_progress: OnProgress) -> dict[str, StagedDataset]:
        """Make datasets, by split, readable for jobs and return how they reach each."""
        ...

    def call(
        self,
        job: str,
        request: dict[str, Any],
        *,
        on_progress: OnProgress,
        gpu: str | None = None,
        image: str | None = None,
        secrets: tuple[str, ...] = (),
        local_secrets: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Run a short job and return its result; an error that the user can mend is raised here as it was there.

        ``gpu``, ``image`` (by name, in place of the job's own), ``secrets`` (of the account, by name) and
        ``local_secrets`` (variables of this machine, which travel as a secret of this one call) are for a backend that
        rents what jobs run on.
        """
        ...

    def reserve(self, name: str) -> AbstractContextManager[RunSlot]:
        """Take the sole right to start run ``name``; raise a usage error while another process works on it."""
        ...

    def pulse(self, record: RunRecord) -> Pulse:
        """Say whether some process really works on the run."""
        ...

    def stop(self, record: RunRecord, kind: StopKind) -> None:
        """Ask the process that works on the run to save and stop; return at once."""
        ...
