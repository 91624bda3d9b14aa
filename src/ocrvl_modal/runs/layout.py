"""The names of a run's files: the only place that knows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class AttemptLayout:
    """The files of one attempt at a run."""

    root: Path

    @property
    def request(self) -> Path:
        """What the job was asked, as JSON."""
        return self.root / "request.json"

    @property
    def call(self) -> Path:
        """Which call on Modal works on this attempt, as its starter noted it."""
        return self.root / "call.json"

    @property
    def engine_config(self) -> Path:
        """What the engine was told."""
        return self.root / "engine.yaml"

    @property
    def log(self) -> Path:
        """All that the engine printed, secrets removed."""
        return self.root / "log.txt"

    @property
    def supervisor_log(self) -> Path:
        """What the supervising process itself printed; empty when all is well."""
        return self.root / "supervisor.txt"


@dataclass(frozen=True)
class RunLayout:
    """The files of one run, under ``outputs/<name>``."""

    root: Path

    @classmethod
    def of(cls, outputs: Path, name: str) -> RunLayout:
        """Return the layout of the run called ``name``."""
        return cls(outputs / name)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.root.name

    @property
    def record(self) -> Path:
        """Who, what, state, attempts, cost."""
        return self.root / "run.json"

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.root / "recipe.yaml"

    @property
    def plan(self) -> Path:
        """What the recipe came to on this data."""
        return self.root / "plan.json"

    @property
    def metrics(self) -> Path:
        """One row a logged step."""
        return self.root / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        """One row an evaluation loss; apart from the metrics, so that those have one row a step."""
        return self.root / "evaluations.jsonl"

    @property
    def attempts(self) -> Path:
        """A folder for each attempt, numbered from 1."""
        return self.root / "attempts"

    @property
    def checkpoints(self) -> Path:
        """``checkpoint-<step>`` folders."""
        return self.root / "checkpoints"

    @property
    def set_aside(self) -> Path:
        """Checkpoints that were found incomplete, or newer than the one a run went back to; never loaded."""
        return self.root / "checkpoints-set-aside"

    @property
    def export(self) -> Path:
        """The model as other tools load it."""
        return self.root / "export"

    @property
    def reserve(self) -> Path:
        """A little room kept while a run is worked on, so that a full disk can still be written down."""
        return self.root / ".reserve"

    @property
    def lock(self) -> Path:
        """Held, on the local backend, by the process that works on the run."""
        return self.root / ".lock"

    @property
    def engine_lock(self) -> Path:
        """Held by the engine's processes, so that the next attempt can tell whether one outlived its supervisor."""
        return self.root / ".engine.lock"

    @property
    def engine_group(self) -> Path:
        """The number of the engine's process group; it speaks of a living group only while the engine lock is held."""
        return self.root / ".engine.group"

    def attempt(self, number: int) -> AttemptLayout:
        """Return the files of attempt ``number``."""
        return AttemptLayout(self.attempts / str(number))

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint at ``step``."""
        return self.checkpoints / f"checkpoint-{step}"

    def evaluation(self, suite: str) -> Path:
        """Return the folder of one suite's predictions and scores."""
        return self.root / "eval" / suite


def checkpoint_step(folder: Path) -> int | None:
    """Return the step that a checkpoint folder's name gives, or ``None`` for another folder."""
    match = CHECKPOINT_NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else None
