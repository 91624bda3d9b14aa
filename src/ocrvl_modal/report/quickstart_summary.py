"""The quickstart's last screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ocrvl_modal.backends.runs_view import RunView
from ocrvl_modal.places import Places
from ocrvl_modal.plan import TrainPlan
from ocrvl_modal.report.run_report import facts_table, loss_curve
from ocrvl_modal.report.words import count, duration
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.metrics import Row

_WIDTH = 100
_TOY = (
    "This model is a toy: {} random parameters that learned one font's digits. It shows that the machinery works and"
    " says nothing of how well PaddleOCR-VL reads."
)


@dataclass(frozen=True)
class TourReport:
    """All that the quickstart found, for the summary and for JSON."""

    home: Path
    run: RunView
    plan: TrainPlan
    killed_at_step: int
    resumed_from_step: int
    readings: tuple[dict[str, str], ...]
    scores: dict[str, Any]
    samples: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "run": self.run.to_dict(),
            "scores": self.scores,
            "test_samples": self.samples,
            "killed_at_step": self.killed_at_step,
            "resumed_from_step": self.resumed_from_step,
            "readings": list(self.readings),
            "files": {name: str(path) for name, path in self.files.items()},
            "seconds": round(self.seconds, 1),
            "is_a_toy": True,
        }

    @property
    def files(self) -> dict[str, Path]:
        """Where each thing lies on this machine."""
        places = Places.under(self.home)
        layout = RunLayout.of(places.outputs, self.run.record.name)
        return {
            "dataset": places.data / "digits",
            "base_model": places.models / "tiny",
            "run": layout.root,
            "metrics": layout.metrics,
            "log": layout.attempt(len(self.run.record.attempts)).log,
            "tuned_model": layout.export,
            "predictions": layout.evaluation("test") / "predictions.jsonl",
        }


def summary(
    report: TourReport, metrics: Sequence[Row], *, home: str = "", program: str = "ocrvl"
) -> list[RenderableType]:
    """Return what the quickstart ends with: scores, loss, readings, files, and the way to a real dataset.

    ``home`` is the folder that commands must be pointed at to find the quickstart's run, where it is not the user's
    own; ``program`` is how this shell calls ``ocrvl``.
    """
    name = report.run.record.name
    there = f"OCRVL_HOME={home} {program}" if home else program
    survived = (
        f"Killed with SIGKILL at step {report.killed_at_step}, went on from checkpoint {report.resumed_from_step},"
        f" done at step {report.run.record.step}. All of it took {duration(report.seconds)}."
    )
    body = Group(
        _scores(report.scores, report.samples),
        Text(""),
        Text("Loss", style="bold"),
        loss_curve(metrics),
        Text(""),
        Text("Read by the tuned model", style="bold"),
        _readings(report.readings),
        Text(""),
        Text(survived),
        Text(_TOY.format(count(report.plan.trained_parameters)), style="yellow"),
    )
    return [
        Panel(body, title="ocrvl quickstart", box=box.ROUNDED, width=_WIDTH, padding=(1, 2)),
        Text("Where things are", style="bold"),
        facts_table((label.replace("_", " "), path) for label, path in report.files.items()),
        Text(""),
        Text("Look around", style="bold"),
        _commands(f"{there} runs show {name}", f"{there} infer IMAGE.png --run {name}"),
        Text(""),
        Text("With your own images", style="bold"),
        _commands(
            f"{program} data check ./mine/train.jsonl",
            f"{program} train --data ./mine/train.jsonl --dry-run",
            f"{program} train --data ./mine/train.jsonl --model 1.6 --name mine",
            f"{program} eval mine",
        ),
    ]


def _scores(scores: Mapping[str, Any], samples: int) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, title=f"Scores on {samples} held-out images", title_justify="left", title_style="bold"
    )
    table.add_column("model")
    for header in ("CER (lower is better)", "NED (lower is better)", "read exactly"):
        table.add_column(header, justify="right")
    for label, style in (("base", ""), ("tuned", "bold green")):
        score = scores[label]
        table.add_row(label, f"{score['cer']:.4f}", f"{score['ned']:.4f}", f"{score['exact_match']:.0%}", style=style)
    if scores["base"]["cer"] > 1:
        table.caption = "A CER over 1: it wrote more than there was to read."
        table.caption_justify = "left"
    return table


def _readings(readings: Sequence[Mapping[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for reading in readings:
        right = reading["read"] == reading["target"]
        table.add_row(
            Path(reading["image"]).name,
            Text(reading["read"] or "(nothing)", style="green" if right else "red"),
            Text("as it should be" if right else f"should be {reading['target']}", style="dim"),
        )
    return table


def _commands(*lines: str) -> Text:
    return Text("\n".join(f"  {line}" for line in lines), style="cyan", overflow="fold")
