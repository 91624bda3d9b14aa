"""The quickstart's last screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ocrvl_modal.backends.runs_view import RunView
from ocrvl_modal.plan import TrainPlan
from ocrvl_modal.report.run_report import facts_table, loss_curve
from ocrvl_modal.report.words import count, duration
from ocrvl_modal.runs.metrics import Row

_WIDTH = 100
_TOY = (
    "This model is a toy: {} random parameters that learned one font's digits. It shows that the machinery works and"
    " says nothing of how well PaddleOCR-VL reads."
)


def summary(
    *,
    run: RunView,
    plan: TrainPlan,
    scores: Mapping[str, Any],
    samples: int,
    readings: Sequence[Mapping[str, str]],
    metrics: Sequence[Row],
    killed_at_step: int,
    resumed_from_step: int,
    files: Mapping[str, Path],
    seconds: float,
    prefix: str,
) -> list[RenderableType]:
    """Return what the quickstart ends with: scores, loss, readings, files, and the way to a real dataset."""
    name = run.record.name
    survived = (
        f"Killed with SIGKILL at step {killed_at_step}, went on from checkpoint {resumed_from_step},"
        f" done at step {run.record.step}. All of it took {duration(seconds)}."
    )
    body = Group(
        _scores(scores, samples),
        Text("Loss", style="bold"),
        loss_curve(metrics),
        Text(""),
        Text("Read by the tuned model", style="bold"),
        _readings(readings),
        Text(""),
        Text(survived),
        Text(_TOY.format(count(plan.trained_parameters)), style="yellow"),
    )
    return [
        Panel(body, title="ocrvl quickstart", box=box.ROUNDED, width=_WIDTH, padding=(1, 2)),
        Text("Where things are", style="bold"),
        facts_table((label.replace("_", " "), path) for label, path in files.items()),
        Text(""),
        Text("Look around", style="bold"),
        _commands(f"{prefix}ocrvl runs show {name}", f"{prefix}ocrvl infer IMAGE.png --run {name}"),
        Text(""),
        Text("With your own images", style="bold"),
        _commands(
            "ocrvl data check ./mine/train.jsonl",
            "ocrvl train --data ./mine/train.jsonl --dry-run",
            "ocrvl train --data ./mine/train.jsonl --model 1.6 --name mine",
            "ocrvl eval mine",
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
