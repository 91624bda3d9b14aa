"""A plan and a run as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from ocrvl_modal.backends.runs_view import RunView
from ocrvl_modal.report.sparkline import draw, sparkline
from ocrvl_modal.report.words import ago, count, duration, size
from ocrvl_modal.runs.metrics import Row

if TYPE_CHECKING:
    from ocrvl_modal.plan import TrainPlan

STATE_STYLES = {
    "submitted": "cyan",
    "preparing": "cyan",
    "training": "bold cyan",
    "exporting": "cyan",
    "interrupted": "yellow",
    "done": "green",
    "failed": "red",
    "cancelled": "magenta",
}
CURVE_WIDTH = 60


def facts_table(rows: Iterable[tuple[str, Any]]) -> Table:
    """Return a table of names and values without lines."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return table


def plan_table(plan: TrainPlan) -> Table:
    """Return what a run will do and take."""
    steps = f"{count(plan.max_steps)} of {plan.samples_per_step} samples ({plan.epochs:g} epochs)"
    limits = [f"{plan.timeout_hours:g} h"] if plan.timeout_hours else []
    limits += [f"${plan.most_usd}"] if plan.most_usd else []
    price = plan.price_usd_per_hour
    cost = f"${price}/h at list price" if price else "nothing: it runs on your own machine"
    validation = f" + {count(plan.validation_samples)} for validation" if plan.validation_samples else ""
    return facts_table(
        [
            ("run", plan.run),
            ("backend", f"{plan.backend} ({plan.hardware})"),
            ("model", f"{plan.model}, {plan.method}, by {plan.engine}"),
            ("data", f"{count(plan.samples)} samples{validation}, longest {count(plan.longest_sample_tokens)} tokens"),
            ("steps", steps),
            ("tokens", count(plan.tokens)),
            ("memory", f"{size(plan.memory_bytes)} for weights and optimizer, activations on top"),
            ("disk", f"{size(plan.disk_bytes)} ({size(plan.checkpoint_bytes)} a checkpoint)"),
            ("limits", " or ".join(limits) or "none"),
            ("cost", cost),
        ]
    )


def state_text(view: RunView) -> Text:
    """Return a run's state in its colour."""
    return Text(view.state, style=STATE_STYLES[view.state])


def runs_table(views: Sequence[RunView]) -> Table:
    """Return one line a run."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("run", "state", "step", "loss", "model", "method", "began", "took"):
        right = header in {"step", "loss", "took"}
        table.add_column(
            header, justify="right" if right else "left", no_wrap=header in {"state", "step"}, overflow="fold"
        )
    for view in views:
        record = view.record
        table.add_row(
            record.name,
            state_text(view),
            f"{record.step}/{record.max_steps}",
            "" if record.loss is None else f"{record.loss:.4f}",
            record.model,
            record.method,
            ago(record.created_at),
            duration(record.cost.seconds),
        )
    return table


def run_facts(view: RunView) -> Table:
    """Return all that the record says of one run."""
    record = view.record
    rows: list[tuple[str, Any]] = [
        ("run", record.name),
        ("state", state_text(view)),
        ("step", f"{record.step} of {record.max_steps}"),
        ("loss", "–" if record.loss is None else f"{record.loss:.4f}"),
    ]
    if record.eval_loss is not None:
        rows.append(("eval loss", f"{record.eval_loss:.4f}"))
    rows += [
        ("model", f"{record.model}, {record.method}, by {record.engine}"),
        ("data", f"{record.dataset} ({count(record.samples)} samples)"),
        ("backend", record.backend),
        ("began", f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC by {record.user}, ocrvl {record.version}"),
        ("took", duration(record.cost.seconds) + (f", ${record.cost.usd}" if record.cost.usd else "")),
    ]
    if record.resumed_from:
        rows.append(("began at", record.resumed_from))
    if record.tags:
        rows.append(("tags", ", ".join(record.tags)))
    if record.note:
        rows.append(("note", record.note))
    if view.reason:
        rows.append(("reason", view.reason))
    return facts_table(rows)


def attempts_table(view: RunView) -> Table:
    """Return one line an attempt."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("attempt", "began", "from step", "took", "ended", "reason"):
        table.add_column(header)
    for attempt in view.record.attempts:
        table.add_row(
            str(attempt.number),
            f"{attempt.started_at:%H:%M:%S}",
            str(attempt.resumed_from_step or 0),
            duration(attempt.seconds) if attempt.ended_at else "",
            attempt.ended_as or ("" if view.alive else "interrupted"),
            attempt.reason or ("" if view.alive or attempt.ended_at else "its process is gone"),
        )
    return table


def loss_curve(rows: Sequence[Row], height: int = 5) -> Table:
    """Return the loss over the steps as a small chart."""
    losses = [loss for row in rows if math.isfinite(loss := float(row["loss"]))]
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    if not losses:
        return table
    lines = draw(losses, CURVE_WIDTH, height)
    labels = [f"{max(losses):.3f}", *[""] * (height - 2), f"{min(losses):.3f}"]
    for label, line in zip(labels, lines, strict=True):
        table.add_row(Text(label, style="dim", justify="right"), Text(line, style="cyan"))
    table.add_row("", Text(f"step {rows[0]['step']} to {rows[-1]['step']}", style="dim"))
    return table


def loss_line(rows: Sequence[Row], width: int = 40) -> str:
    """Return the loss over the steps as one line."""
    return sparkline([float(row["loss"]) for row in rows], width)
