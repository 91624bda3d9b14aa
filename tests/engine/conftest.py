"""The trainer, in this process or as the supervisor starts it, on the small dataset."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ocrvl_modal.engines.base import EngineEvent, EngineJob, StepLogged
from ocrvl_modal.engines.transformers import TransformersEngine
from ocrvl_modal.engines.weights import find_weight_files
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import recipe_from
from ocrvl_modal.runs.layout import RunLayout

ENGINE = TransformersEngine()


@dataclass(frozen=True)
class Work:
    """One attempt at a run that the trainer makes."""

    job: EngineJob
    engine: TransformersEngine = ENGINE

    @property
    def checkpoints(self) -> Path:
        return self.job.checkpoints

    def checkpoint(self, step: int) -> Path:
        return self.job.checkpoints / f"checkpoint-{step}"

    def weight_files(self, step: int) -> list[Path]:
        """A checkpoint's files of tuned weights: those of the adapter, or of the whole model."""
        adapter = self.checkpoint(step) / "adapter_model.safetensors"
        return [adapter] if adapter.is_file() else find_weight_files(self.checkpoint(step))

    def weights(self, step: int) -> list[bytes]:
        """The bytes of a checkpoint's weight files."""
        return [path.read_bytes() for path in self.weight_files(step)]

    def resumed(self, step: int, **changes: Any) -> Work:
        """The same run, going on at a checkpoint."""
        return Work(replace(self.job, resume_from=self.checkpoint(step), **changes))

    def events(self, output: str) -> list[EngineEvent]:
        return [event for line in output.splitlines() for event in ENGINE.read_line(line, self.job)]

    def losses(self, output: str) -> dict[int, float]:
        return {event.step: event.loss for event in self.events(output) if isinstance(event, StepLogged)}

    def train_here(self) -> bool:
        """Train in this process, which has torch and transformers loaded already."""
        from ocrvl_modal.engines.trainer.config import read_config
        from ocrvl_modal.engines.trainer.loop import train
        from ocrvl_modal.engines.trainer.stopping import StopRequest

        return train(read_config(ENGINE.write_config(self.job)), StopRequest())

    def start(self, **popen: Any) -> subprocess.Popen[str]:
        """Start the trainer as a supervisor does."""
        command = ENGINE.command(self.job, ENGINE.write_config(self.job))
        environment = {**os.environ, **ENGINE.environment(self.job)}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **popen}
        return subprocess.Popen(command, env=environment, **options)

    def train_as_child(self, code: int = 0) -> str:
        """Train in a child process to its end and return what it printed."""
        process = self.start()
        output, _ = process.communicate(timeout=500)
        assert process.returncode == code, output
        return output


@pytest.fixture
def make_work(tmp_path: Path, tiny: Path, digits: Path) -> Callable[..., Work]:
    """Return what makes a run: ``make_work("name", "seed=5", max_steps=4)``."""

    def make(name: str, *sets: str, **changes: Any) -> Work:
        recipe = recipe_from(
            {
                "model": {"name": "tiny"},
                "batch": {"per_device": 4},
                "checkpoint": {"save_steps": 3},
                "evaluation": {"eval_steps": 3},
            },
            sets,
        )
        layout = RunLayout(tmp_path / "runs" / name)
        job = EngineJob(
            recipe=recipe,
            member=FAMILY["tiny"],
            model=tiny,
            train=digits / "train.jsonl",
            validation=None,
            max_steps=6,
            warmup_steps=2,
            attempt=layout.attempt(1),
            checkpoints=layout.checkpoints,
            resume_from=None,
            scratch=tmp_path / "scratch",
        )
        return Work(replace(job, **changes))

    return make
