"""A dataset in numbers, as a picture."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrvl_modal import files
from ocrvl_modal.data.shaping.histograms import Histogram
from ocrvl_modal.data.shaping.stats import DatasetStats
from ocrvl_modal.errors import usage_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _DIM, _GRID, _BAR, _OVER = "#1f2430", "#6b7280", "#e5e7eb", "#3b82a0", "#d1495b"
_WIDTH_INCHES, _HEIGHT_INCHES, _DOTS_PER_INCH = 14, 9.5, 110
_MOST_NAMES = 8
_LONGEST_NAME = 24
_FEWEST_BARS = 6
_MOST_LABELS = 6
_STYLE = {
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _DIM,
    "axes.edgecolor": _GRID,
    "xtick.color": _DIM,
    "ytick.color": _DIM,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
}


def require_plotting(path: Path) -> None:
    """Raise a usage error where matplotlib is not installed, or ``path`` is no name of a PNG file."""
    if importlib.util.find_spec("matplotlib") is None:
        raise usage_error("--plot needs matplotlib, which is not installed", "pip install 'ocrvl-modal[data]'")
    if path.suffix.lower() != ".png" or path.is_dir():
        raise usage_error(f"--plot {path}: a picture is a .png file", "--plot stats.png")


def draw_stats(stats: DatasetStats, path: Path) -> None:
    """Draw the tasks, scripts, sources and histograms of a dataset to a PNG file."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), dpi=_DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure, stats)
        with files.new_file(path) as beside, beside.open("wb") as stream:
            figure.savefig(stream, format="png")


def _draw(figure: Figure, stats: DatasetStats) -> None:
    engine: Any = figure.get_layout_engine()
    engine.set(h_pad=0.12, w_pad=0.12)
    about = "" if stats.tokens_counted else ", estimated"
    axes = figure.subplots(3, 3)
    _bars(axes[0][0], "Samples by task", {name: task.samples for name, task in stats.tasks.items()})
    _bars(axes[0][1], "Samples by source", stats.sources)
    _bars(axes[0][2], "Characters by script", stats.scripts)
    _histogram(axes[1][0], "Vision tokens", stats.vision_tokens)
    _histogram(axes[1][1], f"Text tokens{about}", stats.text_tokens)
    _histogram(axes[1][2], f"Sequence length{about}", stats.sequence_tokens, stats.max_seq_len)
    _histogram(axes[2][0], "Pixels of the files", stats.pixels)
    _histogram(axes[2][1], "Pixels after the model's resize", stats.resized_pixels)
    _facts(axes[2][2], stats)
    title = f"{stats.path.name}: {stats.samples:,} samples, seen by {stats.model}"
    figure.suptitle(_literal(title), x=0.012, ha="left", fontsize=15, fontweight="bold")


def _bars(axes: Axes, title: str, counts: Mapping[str, int]) -> None:
    shown = dict(list(counts.items())[:_MOST_NAMES])
    if more := len(counts) - len(shown):
        shown[f"{more} more"] = sum(counts.values()) - sum(shown.values())
    names = [_literal(name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :]) for name in shown]
    places = range(len(shown))
    axes.barh(places, list(shown.values()), color=_BAR, height=0.62)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    most = max(shown.values(), default=1)
    axes.set_xlim(0, most * 1.18)
    axes.set_ylim(max(len(shown), 4) - 0.5, -0.5)
    for place, count in zip(places, shown.values(), strict=True):
        axes.text(count + most * 0.015, place, f"{count:,}", va="center", color=_INK, fontsize=9)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False, labelcolor=_INK)
    _title(axes, title)


def _histogram(axes: Axes, title: str, histogram: Histogram, limit: int | None = None) -> None:
    """Draw the bars side by side, whatever their edges, so that one bar alone is still a bar."""
    colours = [_OVER if limit is not None and edge > limit else _BAR for edge in histogram.edges]
    axes.bar(range(len(histogram.edges)), histogram.counts, width=0.94, align="edge", color=colours)
    axes.set_xlim(-0.2, max(len(histogram.edges), _FEWEST_BARS) + 0.2)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.tick_params(left=False, bottom=False)
    axes.yaxis.set_major_locator(_whole_numbers())
    shown = range(0, len(histogram.edges), max(1, -(-len(histogram.edges) // _MOST_LABELS)))
    axes.set_xticks(list(shown), [_short(histogram.edges[place]) for place in shown])
    at = (limit - histogram.edges[0]) / histogram.width if limit is not None else -1.0
    if 0 <= at <= len(histogram.edges):
        axes.axvline(at, color=_OVER, linewidth=1.2, linestyle="--")
    facts = f"median {histogram.median:,} · mean {histogram.mean:,.0f} · most {histogram.largest:,}"
    _title(axes, title, facts)


def _facts(axes: Axes, stats: DatasetStats) -> None:
    axes.axis("off")
    _title(axes, f"In sequences of {stats.max_seq_len:,} tokens")
    facts = (
        ("too long", f"{stats.too_long:,} of {stats.samples:,} samples"),
        ("made smaller", f"{stats.shrunk:,} images"),
        ("made larger", f"{stats.enlarged:,} images"),
        ("packed in order", f"{stats.packing_in_order.efficiency:.1%} full"),
        ("packed best", f"{stats.packing_best_fit.efficiency:.1%} full"),
        ("tokens", f"{stats.sequence_tokens.total:,}"),
    )
    for place, (name, value) in enumerate(facts):
        height = 0.88 - place * 0.15
        axes.text(0.0, height, name, color=_DIM, transform=axes.transAxes)
        axes.text(0.42, height, value, transform=axes.transAxes)


def _title(axes: Axes, title: str, facts: str = "") -> None:
    axes.set_title(title, loc="left", fontweight="bold", fontsize=11, pad=20 if facts else 8)
    if facts:
        axes.text(0, 1.03, facts, transform=axes.transAxes, color=_DIM, fontsize=8.5)


def _literal(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=True)


def _short(value: int) -> str:
    """Return a number in at most a few letters, where that says the same."""
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if value >= size and value * 100 % size == 0:
            return f"{value / size:g}{unit}"
    return f"{value:,}"
