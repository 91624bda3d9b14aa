"""PaddleFormers as the supervisor starts it, on the small dataset. Only `make test-paddle` has it installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import load_file, save_file

from ocrvl_modal import files
from ocrvl_modal.engines.base import CheckpointSaved, EngineEvent, EngineJob, EvaluationLogged, StepLogged
from ocrvl_modal.engines.paddleformers.engine import PaddleFormersEngine
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import recipe_from
from ocrvl_modal.runs.layout import RunLayout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in here:
        item.add_marker(pytest.mark.paddle)
        if importlib.util.find_spec("paddleformers") is None:
            item.add_marker(pytest.mark.skip(reason="PaddleFormers is not installed: make test-paddle"))


@dataclass
class Trained:
    """What one start of PaddleFormers came to."""

    code: int
    printed: str
    events: list[EngineEvent]

    @property
    def losses(self) -> dict[int, float]:
        return {event.step: event.loss for event in self.events if isinstance(event, StepLogged)}

    @property
    def evaluations(self) -> dict[int, float]:
        return {event.step: event.eval_loss for event in self.events if isinstance(event, EvaluationLogged)}

    @property
    def saved(self) -> list[int]:
        return [event.step for event in self.events if isinstance(event, CheckpointSaved)]


@dataclass
class Run:
    """A run of PaddleFormers that may be started several times."""

    job: EngineJob
    environment: dict[str, str] = field(default_factory=dict)

    def checkpoint(self, step: int) -> Path:
        return self.job.checkpoints / f"checkpoint-{step}"

    def resumed(self, step: int, **changes: Any) -> Run:
        return replace(self, job=replace(self.job, resume_from=self.checkpoint(step), **changes))

    def prepare(self) -> tuple[PaddleFormersEngine, list[str]]:
        """Write what PaddleFormers reads, and return its command."""
        engine = PaddleFormersEngine()
        files.remove_folder(self.job.scratch)
        self.job.scratch.mkdir(parents=True)
        self.job.checkpoints.mkdir(parents=True, exist_ok=True)
        self.job.attempt.root.mkdir(parents=True, exist_ok=True)
        return engine, engine.command(self.job, engine.write_config(self.job))

    def start(self, prepared: tuple[PaddleFormersEngine, list[str]] | None = None, **after: signal.Signals) -> Trained:
        """Train until the end; ``after`` sends a signal to the process group after an event: ``saved_4=SIGKILL``."""
        engine, command = prepared or self.prepare()
        process = subprocess.Popen(
            command,
            env={**os.environ, **engine.environment(self.job), **self.environment},
            cwd=engine.working_folder(self.job),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None
        printed, events = [], []
        with process.stdout:
            for line in process.stdout:
                printed.append(line)
                for event in engine.read_line(line.rstrip("\n"), self.job):
                    events.append(event)
                    if number := after.pop(_name(event), None):
                        os.killpg(process.pid, number)
        return Trained(process.wait(timeout=60), "".join(printed), events)

    def finish(self) -> Trained:
        """Train to a good end."""
        trained = self.start()
        assert trained.code == 0, trained.printed[-3000:]
        return trained


def _name(event: EngineEvent) -> str:
    if isinstance(event, CheckpointSaved):
        return f"saved_{event.step}"
    if isinstance(event, EvaluationLogged):
        return f"evaluated_{event.step}"
    return f"step_{event.step}" if isinstance(event, StepLogged) else "failed"


@pytest.fixture
def make_run(tmp_path: Path, tiny: Path, digits: Path) -> Callable[..., Run]:
    """Return what makes a run: ``make_run("name", "seed=5", max_steps=4)``."""

    def make(name: str, *sets: str, **changes: Any) -> Run:
        recipe = recipe_from(
            {
                "model": {"name": "tiny"},
                "engine": "paddleformers",
                "batch": {"per_device": 8},
                "checkpoint": {"save_steps": 4},
                "evaluation": {"eval_steps": 4},
            },
            sets,
            family=FAMILY["tiny"],
        )
        layout = RunLayout(tmp_path / "runs" / name)
        job = EngineJob(
            recipe=recipe,
            member=FAMILY["tiny"],
            model=tiny,
            train=digits / "train.jsonl",
            validation=None,
            max_steps=8,
            warmup_steps=2,
            attempt=layout.attempt(1),
            checkpoints=layout.checkpoints,
            resume_from=None,
            scratch=tmp_path / f"scratch-{name}",
        )
        return Run(replace(job, **changes))

    return make


@pytest.fixture
def one_batch(digits: Path, tmp_path: Path) -> Path:
    """A dataset of one batch, so that no shuffling can make a difference."""
    rows = [json.loads(line) for line in (digits / "train.jsonl").read_text().splitlines()[:8]]
    for number, row in enumerate(rows):
        row["images"] = [str(digits / image) for image in row["images"]]
        # Targets of different lengths, so that it matters what a mean is taken over.
        row["messages"][1]["content"] = row["messages"][1]["content"][: 2 + number % 3 * 2]
    path = tmp_path / "one-batch.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def untied(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model with a head of its own, as the real ones have: tied, each engine would learn another model."""
    model = tmp_path / "untied"
    shutil.copytree(tiny, model)
    tensors = load_file(model / "model.safetensors")
    head = numpy.random.default_rng(7).standard_normal(tensors["lm_head.weight"].shape) / 8
    save_file({**tensors, "lm_head.weight": head.astype("float32")}, model / "model.safetensors", {"format": "pt"})
    return model
