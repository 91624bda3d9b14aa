"""What a training engine is to the job that supervises it: a configuration, a command line, and lines to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.runs.layout import AttemptLayout

if TYPE_CHECKING:
    from ocrvl_modal.recipe_schema import TrainRecipe

STOPPED_EXIT_CODE = 75
"""An engine that was asked to stop, saved a checkpoint and ended (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True)
class EngineJob:
    """All that an engine needs to know of one attempt.

    ``train`` and ``validation`` are JSONL files on this machine, checked before; ``checkpoints`` is the folder in
    which ``checkpoint-<step>`` folders appear; ``resume_from`` is a complete checkpoint, or ``None`` to begin from the
    weights in ``model``, which belong to the store and must not be written to. ``scratch`` is an empty folder on the
    local disk that goes when the attempt ends.
    """

    recipe: TrainRecipe
    member: FamilyMember
    model: Path
    train: Path
    validation: Path | None
    max_steps: int
    warmup_steps: int
    attempt: AttemptLayout
    checkpoints: Path
    resume_from: Path | None
    scratch: Path

    @property
    def worker_logs(self) -> Path:
        """Where the engine's processes may keep logs of their own: a flood of them is noticed, and they go with it."""
        return self.scratch / "logs"


@dataclass(frozen=True)
class StepLogged:
    """A training step. ``more`` holds whatever else the engine measured (gradient norm, samples a second, …)."""

    step: int
    loss: float
    learning_rate: float
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationLogged:
    """The loss on the validation samples after ``step``."""

    step: int
    eval_loss: float


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint folder is there with all its files in place; the engine will not touch it again."""

    step: int
    folder: Path


@dataclass(frozen=True)
class EngineFailed:
    """The engine said why it gives up, in words for the user."""

    error: OcrvlError


EngineEvent = StepLogged | EvaluationLogged | CheckpointSaved | EngineFailed


class Engine(Protocol):
    """One trainer. It runs in a child process; these methods run in the supervisor and import nothing heavy.

    An engine object serves one attempt, so it may remember what earlier lines said.
    """

    name: str

    def check(self, recipe: TrainRecipe, member: FamilyMember) -> tuple[str, ...]:
        """Return what of the recipe this engine leaves out, as warnings; raise a usage error for what it cannot do."""
        ...

    def sample_pieces(self, member: FamilyMember, prompt: str, target: str) -> tuple[str, ...]:
        """Return the texts that the engine encodes one by one for a sample, with one placeholder for its image.

        Together they are the whole sample; the last two are the target and its end.
        """
        ...

    def write_config(self, job: EngineJob) -> Path:
        """Write the engine's own configuration into the attempt's folder, and what it needs beside it; return it."""
        ...

    def command(self, job: EngineJob, config: Path) -> list[str]:
        """Return the argument list that trains."""
        ...

    def environment(self, job: EngineJob) -> dict[str, str]:
        """Return the variables that the engine needs beside those that it inherits."""
        ...

    def working_folder(self, job: EngineJob) -> Path:
        """Return the folder that the engine is started in."""
        ...

    def read_line(self, line: str, job: EngineJob) -> tuple[EngineEvent, ...]:
        """Return what a line of the engine's output means; nothing for a line that means nothing to us."""
        ...

    def at_end(self, code: int, job: EngineJob) -> tuple[EngineEvent, ...]:
        """Return what the end of the engine's process, with its exit code, means beyond its lines."""
        ...
