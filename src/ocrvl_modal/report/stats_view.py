"""A dataset in numbers, drawn in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ocrvl_modal.data.shaping.histograms import Histogram
from ocrvl_modal.data.shaping.packing import Packing
from ocrvl_modal.data.shaping.stats import DatasetStats
from ocrvl_modal.report.words import count

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDTH = 40
_MOST_SHOWN = 8


def stats_view(stats: DatasetStats) -> Iterator[Any]:
    """Yield tables of tasks, sources and scripts, histograms, and what the sequences come to."""
    yield _tasks(stats)
    yield _shares("source", stats.sources)
    yield _shares("script", stats.scripts, "characters")
    about = "" if stats.tokens_counted else ", at most (no tokenizer here: one a character)"
    yield _drawn("vision tokens", stats.vision_tokens)
    yield _drawn(f"text tokens{about}", stats.text_tokens)
    yield _drawn(f"sequence length{about}", stats.sequence_tokens, limit=stats.max_seq_len)
    yield _drawn("pixels of the files", stats.pixels)
    yield _drawn("pixels after the model's resize", stats.resized_pixels)
    yield _closing(stats)


def _tasks(stats: DatasetStats) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("task")
    for header in ("samples", "vision tokens", "text tokens", f"over {count(stats.max_seq_len)}"):
        table.add_column(header, justify="right")
    for name, task in stats.tasks.items():
        table.add_row(
            Text(name),
            count(task.samples),
            count(task.vision_tokens),
            count(task.text_tokens),
            Text(count(task.too_long), "bold red" if task.too_long else "dim"),
        )
    return table


def _shares(title: str, counts: Mapping[str, int], unit: str = "samples") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, overflow="fold")
    table.add_column(unit, justify="right")
    table.add_column("", no_wrap=True)
    shown = dict(list(counts.items())[:_MOST_SHOWN])
    if more := len(counts) - len(shown):
        shown[f"{more} more"] = sum(counts.values()) - sum(shown.values())
    most = max(shown.values(), default=1)
    for name, number in shown.items():
        table.add_row(Text(name), count(number), Text(_bar(number, most, _WIDTH // 2), "cyan"))
    return table


def _drawn(title: str, histogram: Histogram, limit: int | None = None) -> Group:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", style="dim")
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    most = max(histogram.counts, default=1)
    for edge, number in zip(histogram.edges, histogram.counts, strict=True):
        label = f"{count(edge)}{'+' if edge == histogram.open_from else ''}"
        style = "red" if limit is not None and edge > limit else "cyan"
        table.add_row(label, Text(_bar(number, most, _WIDTH).ljust(_WIDTH), style), count(number))
    facts = f"  median {count(histogram.median)} · mean {histogram.mean:,.0f} · most {count(histogram.largest)}"
    return Group(Text.assemble((f"\n{title}", "bold"), (facts, "dim")), table)


def _bar(number: int, most: int, width: int) -> str:
    eighths = max(round(number / most * width * 8), 1 if number else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _closing(stats: DatasetStats) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    dropped = f"{count(stats.too_long)} of {count(stats.samples)} samples"
    table.add_row("\nover max_seq_len", f"\n{dropped} (PaddleFormers drops them, ERNIEKit cuts their ends)")
    table.add_row("resized", f"{count(stats.shrunk)} made smaller, {count(stats.enlarged)} made larger")
    table.add_row("packed in order", _packed(stats.packing_in_order))
    table.add_row("packed best", _packed(stats.packing_best_fit))
    return table


def _packed(packing: Packing) -> str:
    sequences = f"{count(packing.packs)} sequences of {count(packing.max_seq_len)}"
    return f"{packing.efficiency:.1%} full: {count(packing.tokens)} tokens in {sequences}"
