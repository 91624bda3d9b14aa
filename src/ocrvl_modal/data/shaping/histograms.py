"""Histograms with round edges, the long tail in one last bar."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_BARS = 12
_TAIL = 0.99


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each bar: bar ``i`` holds those from ``edges[i]`` up to, but without, ``edges[i + 1]``.

    The last bar holds all from its edge on, so there are as many edges as bars. ``total``, ``median`` and ``largest``
    are of all values.
    """

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    total: int
    median: int
    largest: int

    @property
    def values(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The mean of all values, 0 where there is none."""
        return self.total / self.values if self.values else 0.0

    @property
    def open_from(self) -> int | None:
        """The last edge where values lie further from it than a bar is wide, else ``None``."""
        return self.edges[-1] if self.edges and self.largest >= self.edges[-1] + self.width else None

    @property
    def width(self) -> int:
        """How many values wide each bar but the last is."""
        return self.edges[1] - self.edges[0] if len(self.edges) > 1 else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the histogram as it stands in JSON output."""
        return {
            "edges": list(self.edges),
            "counts": list(self.counts),
            "total": self.total,
            "mean": round(self.mean, 1),
            "median": self.median,
            "max": self.largest,
        }


def histogram(values: Sequence[int]) -> Histogram:
    """Return the histogram of whole numbers from 0 on, with at most fourteen bars."""
    if not values:
        return Histogram((), (), 0, 0, 0)
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, int(len(ordered) * _TAIL))]
    step = _round_step((high - low + 1) / _BARS)
    first = low // step * step
    edges = tuple(range(first, high + 1, step))
    starts = [bisect_left(ordered, edge) for edge in edges] + [len(ordered)]
    counts = tuple(after - before for before, after in pairwise(starts))
    return Histogram(edges, counts, sum(ordered), ordered[len(ordered) // 2], ordered[-1])


def _round_step(width: float) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50 … that is not smaller."""
    if width <= 1:
        return 1
    unit = 10 ** math.floor(math.log10(width))
    return int(next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= width))
