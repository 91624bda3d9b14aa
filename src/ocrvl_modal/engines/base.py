"""What a training engine is to the job that supervises it: a configuration, a command line, and lines to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.recipes import TrainRecipe
from ocrvl_modal.runs.layout import AttemptLayout

STOPPED_EXIT_CODE = 75
"""An engine that was asked to stop, saved a checkpoint and ended (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True)
class EngineJob:
    """All that an engine needs to know of one attempt.

    ``train`` and ``validation`` are JSONL files on this machine, checked before; ``checkpoints`` is the folder in
    which ``checkpoint-<step>`` folders appear, each whole when it gets its name; ``resume_from`` is a complete
    checkpoint, or ``None`` to begin from the weights in ``model``.
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
    """A checkpoint folder has got its name, with all its files in place."""

    step: int
    folder: Path


@dataclass(frozen=True)
class EngineFailed:
    """The engine said why it gives up, in words for the user."""

    error: OcrvlError


EngineEvent = StepLogged | EvaluationLogged | CheckpointSaved | EngineFailed


class Engine(Protocol):
    """One trainer. It runs in a child process; these methods run in the supervisor and import nothing heavy."""

    name: str

    def write_config(self, job: EngineJob) -> Path:
        """Write the engine's own configuration into the attempt's folder and return its path."""
        ...

    def command(self, job: EngineJob, config: Path) -> list[str]:
        """Return the argument list that trains."""
        ...

    def environment(self, job: EngineJob) -> dict[str, str]:
        """Return the variables that the engine needs beside those that it inherits."""
        ...

    def read_line(self, line: str, job: EngineJob) -> EngineEvent | None:
        """Return what a line of the engine's output means, or ``None`` for a line that means nothing to us."""
        ...

    def weights_of(self, checkpoint: Path) -> list[Path]:
        """Return the files of a finished checkpoint that hold tuned weights, in the safetensors format."""
        ...
