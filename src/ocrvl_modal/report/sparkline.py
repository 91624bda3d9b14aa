"""A curve in one line of text, or a few."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return one line of at most ``width`` blocks; the lowest value is the lowest block."""
    return draw(values, width, 1)[0] if values else ""


def draw(values: Sequence[float], width: int, height: int) -> list[str]:
    """Return a bar chart of ``values`` as ``height`` lines, top line first.

    More values than columns are averaged into columns, so that a long run's curve keeps its shape.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return [""] * height
    columns = _columns(finite, width)
    low, high = min(columns), max(columns)
    span = (high - low) or 1.0
    # One eighth stays under the lowest value, so that it is seen to be there.
    levels = [1 + round((value - low) / span * (height * 8 - 1)) for value in columns]
    return ["".join(_block(level - row * 8) for level in levels) for row in range(height - 1, -1, -1)]


def _columns(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    return [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges) if end > start]


def _block(eighths: int) -> str:
    return _EIGHTHS[max(0, min(8, eighths))]
