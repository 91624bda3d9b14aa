"""What came of dividing, mixing and sampling a dataset, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ocrvl_modal.data.shaping.mixing import MixReport
from ocrvl_modal.data.shaping.sampling import SampleReport
from ocrvl_modal.data.shaping.splitting import SplitReport
from ocrvl_modal.report.words import count

_LARGE_BLOCK = 0.2


def split_table(report: SplitReport) -> Iterator[Any]:
    """Yield a table of the splits, and a line of what was kept together."""
    tasks = list(dict.fromkeys(task for part in report.parts.values() for task in part.tasks))
    table = _table("split", "rows", "groups", "share", "asked", *tasks)
    for split, part in report.parts.items():
        asked = report.shares.to_dict()[split]
        if not asked and not part.rows:
            continue
        by_task = [count(part.tasks.get(task, 0)) for task in tasks]
        share = f"{part.rows / report.rows:.1%}"
        table.add_row(
            Text(str(report.file(split))), count(part.rows), count(part.groups), share, f"{asked:.1%}", *by_task
        )
    yield table
    if report.linked_groups:
        why = "look alike or have the same bytes" if report.together == "alike" else "have the same bytes"
        yield f"{count(report.linked_groups)} groups have images that {why}; they stay together"


def split_notes(report: SplitReport) -> Iterator[str]:
    """Yield what the user should look at: tasks without a row in a split, and sets too large for the shares."""
    if report.lacking:
        where = ", ".join(f"{task} in {split}" for split, task in report.lacking)
        seed = report.seed_to_try
        mend = f"--seed {seed} gives every task some" if seed is not None else "label more groups of it"
        yield f"no row of {where}: {mend}"
    if report.largest_block > _LARGE_BLOCK * report.rows:
        yield (
            f"{count(report.largest_block)} of {count(report.rows)} rows must stay together, and the shares suffer:"
            " group by something finer, or give --together same where images only look alike"
        )


def sample_table(report: SampleReport) -> Iterator[Any]:
    """Yield what was taken of each task and each script."""
    table = _table("", "taken", "of")
    table.add_row("rows", count(report.taken), count(report.rows))
    for what, kinds in (("task", report.tasks), ("script", report.scripts)):
        for kind, (taken, of) in kinds.items():
            table.add_row(Text.assemble((f"{what} ", "dim"), kind), count(taken), count(of))
    yield table
    yield f"{report.file}: {count(report.strata_taken)} of {count(report.strata)} kinds of rows (task, script, length)"


def mix_tables(report: MixReport) -> Iterator[Any]:
    """Yield what each dataset gives, and what the mix is by task."""
    parts = _table("dataset", "share", "rows", "samples", "left out", "repeats")
    for part in report.parts:
        name = Text(str(part.path)) + Text("  replayed" if part.replay else "", "dim")
        repeats = f"{count(part.repeats)}  ({part.copies} times each)" if part.repeats else "0"
        parts.add_row(name, f"{part.share:.1%}", count(part.rows), count(part.samples), count(part.left_out), repeats)
    yield parts
    about = "" if report.tokens_counted else "at most "
    tasks = _table("task", "samples", "of them replayed", "tokens", "share of tokens")
    for task_name, task in report.tasks.items():
        share = f"{task.tokens / report.tokens:.1%}"
        tasks.add_row(Text(task_name), count(task.samples), count(task.replayed), f"{about}{count(task.tokens)}", share)
    yield tasks
    yield f"{report.file}: {count(report.samples)} samples, {about}{count(report.tokens)} tokens"


def mix_notes(report: MixReport) -> Iterator[str]:
    """Yield what the user should look at: the model's tasks that the mix does not have."""
    if report.absent_tasks:
        yield (
            f"no sample of {', '.join(report.absent_tasks)}: tuning may make the model forget"
            f" {'it' if len(report.absent_tasks) == 1 else 'them'}; --replay takes a file that has some"
        )


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for header in numbers:
        table.add_column(header, justify="right")
    return table
