"""A run on an engine that takes no time: everything else about it is real."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.backends.base import RunSlot
from ocrvl_modal.backends.local import LocalBackend
from ocrvl_modal.backends.submission import Submission, submit
from ocrvl_modal.data.digest import dataset_digest
from ocrvl_modal.engines.base import EngineEvent, EngineJob
from ocrvl_modal.engines.transformers import TransformersEngine
from ocrvl_modal.jobs import train
from ocrvl_modal.models import FAMILY, FamilyMember
from ocrvl_modal.plan import DatasetSize, TrainPlan, make_plan
from ocrvl_modal.recipes import TrainRecipe, recipe_from
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.metrics import Row, read_rows
from ocrvl_modal.runs.record import RunRecord, read_record

SCRIPT = Path(__file__).with_name("standin_engine.py")
STEPS = 6


def learned_after(steps: int) -> str:
    """What an undisturbed run has learned after so many steps."""
    learned = "fresh"
    for step in range(1, steps + 1):
        learned = hashlib.sha256(f"{learned} {step}".encode()).hexdigest()
    return learned


@dataclass
class StandInEngine:
    """See :class:`ocrvl_modal.engines.base.Engine`; ``options`` say where it hangs, dies or fails."""

    options: dict[str, Any] = field(default_factory=dict)
    name = "transformers"
    variables: dict[str, str] = field(default_factory=dict)

    def sample_pieces(self, member: FamilyMember, prompt: str, target: str) -> tuple[str, ...]:
        return member.render_prompt(prompt), target, "</s>"

    def write_config(self, job: EngineJob) -> Path:
        config = {
            "max_steps": job.max_steps,
            "save_steps": job.recipe.checkpoint.save_steps,
            "checkpoints": str(job.checkpoints),
            "resume_from": str(job.resume_from) if job.resume_from else None,
            **self.options,
        }
        files.write_json(job.attempt.engine_config, config)
        return job.attempt.engine_config

    def command(self, job: EngineJob, config: Path) -> list[str]:
        return [sys.executable, "-I", "-S", str(SCRIPT), str(config)]

    def environment(self, job: EngineJob) -> dict[str, str]:
        return self.variables

    def check(self, recipe: TrainRecipe, member: FamilyMember) -> tuple[str, ...]:
        return ()

    def working_folder(self, job: EngineJob) -> Path:
        return job.attempt.root

    def read_line(self, line: str, job: EngineJob) -> tuple[EngineEvent, ...]:
        return TransformersEngine().read_line(line, job)

    def at_end(self, code: int, job: EngineJob) -> tuple[EngineEvent, ...]:
        return ()


def export_nothing_but_the_weights(*, checkpoint: Path, base: Path, out: Path, **_: Any) -> None:
    """Stand in for the real export, which needs torch: a folder, whole or absent."""
    with files.new_folder(out) as beside:
        shutil.copyfile(checkpoint / "model.safetensors", beside / "model.safetensors")
        shutil.copyfile(base / "config.json", beside / "config.json")
        files.write_json(beside / "ocrvl.json", {"family": "tiny"})


class _Slot:
    def __init__(self, requests: list[dict[str, Any]], backend: LocalBackend) -> None:
        self._requests = requests
        self._backend = backend

    def prepare(self, recipe: TrainRecipe, member: FamilyMember, say: Callable[[str], None]) -> str:
        return ""

    def spawn(self, request: dict[str, Any], attempt: int) -> str:
        self._requests.append({**request, "places": self._backend.places.model_dump(mode="json")})
        return ""


class HereBackend(LocalBackend):
    """The local backend, but jobs wait in ``requests`` to be run in this process."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.requests: list[dict[str, Any]] = []

    @contextmanager
    def reserve(self, name: str) -> Iterator[RunSlot]:
        with super().reserve(name):
            yield _Slot(self.requests, self)


@dataclass
class House:
    """A home with a model and a dataset, in which runs are submitted and worked on in this process."""

    home: Path
    engine: StandInEngine = field(default_factory=StandInEngine)

    def __post_init__(self) -> None:
        self.backend = HereBackend(self.home)
        self.places = self.backend.places
        self.data = self.home / "train.jsonl"

    def furnish(self) -> None:
        """Put in the model and the dataset."""
        model = self.places.models / "tiny"
        files.write_json(model / "config.json", {})
        files.write_json(model / "ocrvl.json", {"family": "tiny"})
        image = self.home / "one.png"
        files.write_bytes(image, b"not looked into")
        row = {
            "messages": [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": "1"}],
            "images": [str(image)],
        }
        files.write_text(self.data, json.dumps(row) + "\n")

    def recipe(self, *sets: str) -> TrainRecipe:
        written = {
            "model": {"name": "tiny"},
            "engine": "transformers",
            "data": {"train": str(self.data)},
            "schedule": {"max_steps": STEPS},
            "checkpoint": {"save_steps": 2},
        }
        return recipe_from(written, sets)

    def plan(self, name: str, recipe: TrainRecipe) -> TrainPlan:
        return make_plan(
            recipe,
            FAMILY["tiny"],
            run=name,
            backend="local",
            hardware="here",
            train=DatasetSize(1, 10, 10),
            validation_samples=0,
            devices=1,
        )

    def submission(self, name: str, *sets: str, resume_from: str | None = None) -> Submission:
        recipe = self.recipe(*sets)
        return Submission(recipe, FAMILY["tiny"], self.plan(name, recipe), dataset_digest(self.data), resume_from)

    def submit(self, name: str, *sets: str, resume_from: str | None = None) -> RunRecord:
        return submit(self.backend, self.submission(name, *sets, resume_from=resume_from), print)

    def work(self) -> dict[str, Any]:
        """Work on the run that was submitted last."""
        return train.run(self.backend.requests.pop())

    def train(self, name: str, *sets: str, resume_from: str | None = None, **options: Any) -> RunRecord:
        """Submit a run and work on it; return its record as it then stands on disk."""
        self.engine.options = options
        self.submit(name, *sets, resume_from=resume_from)
        self.work()
        return self.record(name)

    def layout(self, name: str) -> RunLayout:
        return RunLayout.of(self.places.outputs, name)

    def record(self, name: str) -> RunRecord:
        record = read_record(self.layout(name).record)
        assert record is not None
        return record

    def metrics(self, name: str) -> list[Row]:
        return read_rows(self.layout(name).metrics)

    def steps(self, name: str) -> list[int]:
        return [row["step"] for row in self.metrics(name)]

    def learned(self, name: str) -> str:
        """What the exported model has learned."""
        return (self.layout(name).export / "model.safetensors").read_text()
