"""The steps of the quickstart: each does one real thing through the same code as the command that it stands for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.text import Text

from ocrvl_modal import locks
from ocrvl_modal.backends import preparation
from ocrvl_modal.backends.local import LocalBackend, kill_run
from ocrvl_modal.backends.preparation import Asked, CheckedData, Resolved
from ocrvl_modal.backends.runs_view import RunView, find_run, load_metrics, load_run, place_of
from ocrvl_modal.backends.submission import Submission, submit
from ocrvl_modal.data.synthesis.digits import SynthReport, synthesize_digits
from ocrvl_modal.engines import get_engine
from ocrvl_modal.errors import OcrvlError, usage_error
from ocrvl_modal.files import remove_folder
from ocrvl_modal.models import FAMILY, check_pairing
from ocrvl_modal.output import Output, stderr_console
from ocrvl_modal.plan import TrainPlan
from ocrvl_modal.report.follow import follow
from ocrvl_modal.report.quickstart_summary import TourReport
from ocrvl_modal.report.words import count, duration, size
from ocrvl_modal.runs.layout import RunLayout

RUN = "quickstart"
DATASET = "/data/digits"
_SHARE_BEFORE_THE_KILL = 0.5
_READ = 4

Result = TypeVar("Result")


@dataclass(frozen=True)
class Training:
    """The training of the tour: how the run stands, and what the kill cost."""

    view: RunView
    killed_at_step: int
    resumed_from_step: int


class Tour:
    """One quickstart."""

    def __init__(self, home: Path, out: Output, *, engine: str, keep: bool) -> None:
        self.backend = LocalBackend(home)
        self.home = home
        self.out = out
        self.engine = engine
        self.name = self._free_name() if keep else RUN
        self._began = time.monotonic()

    def go(self) -> TourReport:
        """Take every step and return what came of it."""
        self.backend.require_ready(self.engine)
        self.clear()
        made = self.step("made a dataset", self.make_dataset, lambda made: f"{_samples(made)} of six digits")
        self.step("made a model", self.make_model, lambda model: f"{size(model['size_bytes'])}, weights at random")
        resolved, checked, planned = self.step(
            "checked and planned", self.check_and_plan, lambda three: f"{count(three[2].max_steps)} steps, no problems"
        )
        training = self.step("trained", lambda: self.train(resolved, checked, planned), _training_words)
        readings = self.step("read images", lambda: self.read(made), _readings_words)
        evaluation = self.step("scored", self.score, lambda found: f"base and tuned on {found['samples']} images")
        return TourReport(
            home=self.home,
            run=training.view,
            plan=planned,
            killed_at_step=training.killed_at_step,
            resumed_from_step=training.resumed_from_step,
            readings=readings,
            scores=evaluation["scores"],
            samples=evaluation["samples"],
            seconds=time.monotonic() - self._began,
        )

    def step(self, what: str, act: Callable[[], Result], words: Callable[[Result], str]) -> Result:
        """Act, then say what was done and how long it took."""
        began = time.monotonic()
        result = act()
        if self.out.talkative:
            took = duration(time.monotonic() - began)
            line = Text.assemble(("✓", "green"), f" {what:<20} {words(result)} ", (f"({took})", "dim"))
            stderr_console().print(line)
        return result

    def clear(self) -> None:
        """Remove the run of an earlier quickstart, unless somebody works on it."""
        layout = RunLayout.of(self.backend.places.outputs, self.name)
        if not layout.root.exists():
            return
        if locks.is_held(layout.lock):
            raise usage_error(f"another quickstart runs in {self.home}", "name another --dir, or wait for it")
        remove_folder(layout.root)

    def make_dataset(self) -> SynthReport:
        """Render digits into the data store."""
        with self.out.progress() as on_progress:
            return synthesize_digits(self.backend.places.resolve(DATASET), on_progress=on_progress)

    def make_model(self) -> dict[str, Any]:
        """Make the tiny model in the models store."""
        with self.out.progress() as on_progress:
            return self.backend.call("download", {"model": "tiny", "force": True}, on_progress=on_progress)

    def check_and_plan(self) -> tuple[Resolved, CheckedData, TrainPlan]:
        """Do what ``ocrvl train --dry-run`` does."""
        asked = Asked(data=f"{DATASET}/train.jsonl", model="tiny", engine=self.engine, name=self.name)
        resolved = preparation.resolve(asked, self.backend)
        with self.out.progress() as on_progress:
            checked = preparation.check(resolved, self.backend, on_progress)
        return resolved, checked, preparation.plan(resolved, checked, self.backend)

    def train(self, resolved: Resolved, checked: CheckedData, planned: TrainPlan) -> Training:
        """Train, kill everything in the middle, and go on. A Ctrl-C ends the training too."""
        try:
            return self._train(resolved, checked, planned)
        except KeyboardInterrupt:
            kill_run(self.backend.places, load_run(self.backend, self.name).record)
            raise

    def _train(self, resolved: Resolved, checked: CheckedData, planned: TrainPlan) -> Training:
        wanted = Submission(resolved.recipe, resolved.member, planned, checked.train.sha256)
        submit(self.backend, wanted, self.out.note)
        enough = round(planned.max_steps * _SHARE_BEFORE_THE_KILL)
        view = follow(self.backend, self.name, self.out, until=lambda view: view.ended or self.last_step() >= enough)
        self._require(view, view.alive)
        kill_run(self.backend.places, view.record)
        killed_at = self.last_step()
        self._tell_of_the_kill(killed_at)
        submit(self.backend, wanted, self.out.note)
        view = follow(self.backend, self.name, self.out)
        self._require(view, view.state == "done")
        attempt = view.record.attempt
        return Training(view, killed_at, (attempt.resumed_from_step if attempt else None) or 0)

    def read(self, made: SynthReport) -> tuple[dict[str, str], ...]:
        """Read a few held-out images with the tuned model, as ``ocrvl infer --run`` does."""
        from ocrvl_modal.data.rows import read_samples

        samples = read_samples(made.test)[:_READ]
        request = {
            "model": place_of(self.name, "export"),
            "images": [{"name": sample.image.name, "path": str(sample.image)} for sample in samples],
            "prompt": FAMILY["tiny"].prompts["text"],
        }
        with self.out.progress() as on_progress:
            result = self.backend.call("infer", request, on_progress=on_progress)
        return tuple(
            {"image": str(sample.image), "target": sample.target, "read": item["text"]}
            for sample, item in zip(samples, result["items"], strict=True)
        )

    def score(self) -> dict[str, Any]:
        """Score base and tuned on images that training never saw, as ``ocrvl eval`` does."""
        request = {
            "models": {"base": "/models/tiny", "tuned": place_of(self.name, "export")},
            "data": f"{DATASET}/test.jsonl",
            "out": place_of(self.name, "eval", "test"),
        }
        with self.out.progress() as on_progress:
            return self.backend.call("evaluate", request, on_progress=on_progress)

    def last_step(self) -> int:
        """Return the last step that was logged; the record follows it by a second."""
        rows = load_metrics(self.backend, self.name)
        return int(rows[-1]["step"]) if rows else 0

    def _tell_of_the_kill(self, step: int) -> None:
        if self.out.talkative:
            words = f" {'killed on purpose':<20} SIGKILL to engine and supervisor at step {step}; now it goes on"
            stderr_console().print(Text.assemble(("✗", "yellow"), words))

    def _require(self, view: RunView, fine: bool) -> None:
        if not fine:
            raise OcrvlError(f"training is {view.state}: {view.reason}", f"ocrvl runs logs {self.name}")

    def _free_name(self) -> str:
        number = 1
        while find_run(self.backend, name := RUN if number == 1 else f"{RUN}-{number}"):
            number += 1
        return name


def check_engine(name: str) -> str:
    """Return the name of an engine that trains the toy model; raise a usage error for any other."""
    get_engine(name)
    check_pairing(FAMILY["tiny"], name, "full")
    return name


def _samples(made: SynthReport) -> str:
    return f"{count(sum(made.samples.values()))} images"


def _training_words(training: Training) -> str:
    lost = training.killed_at_step - training.resumed_from_step
    return f"to the end, from step {training.resumed_from_step} on: the kill cost {lost} steps"


def _readings_words(readings: tuple[dict[str, str], ...]) -> str:
    return ", ".join(reading["read"] or "(nothing)" for reading in readings)
