"""Which bytes of a file are here: sets of half-open ranges, kept in order, apart, and never empty."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of byte positions, as ranges ``[start, end)``."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._ranges == other._ranges

    def __repr__(self) -> str:
        return f"Ranges({self._ranges})"

    __hash__ = None  # type: ignore[assignment]

    def add(self, start: int, end: int) -> None:
        """Put ``[start, end)`` into the set; an empty range changes nothing."""
        if start >= end:
            return
        # All that overlap or touch the new one become one range with it.
        first = bisect.bisect_left(self._ranges, start, key=lambda known: known[1])
        last = bisect.bisect_right(self._ranges, end, key=lambda known: known[0])
        if first < last:
            start, end = min(start, self._ranges[first][0]), max(end, self._ranges[last - 1][1])
        self._ranges[first:last] = [(start, end)]

    def copy(self) -> Ranges:
        """Return the set as it is now."""
        twin = Ranges()
        twin._ranges = list(self._ranges)
        return twin

    @property
    def total(self) -> int:
        """How many bytes are in the set."""
        return sum(end - start for start, end in self._ranges)

    @property
    def front(self) -> int:
        """Up to where the set has every byte from 0 on."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    def missing(self, size: int) -> list[tuple[int, int]]:
        """Return the ranges of ``[0, size)`` that are not in the set, in order."""
        gaps, position = [], 0
        for start, end in self._ranges:
            if start >= size:
                break
            if start > position:
                gaps.append((position, start))
            position = end
        if position < size:
            gaps.append((position, size))
        return gaps


def pieces_of(gaps: Iterable[tuple[int, int]], longest: int) -> list[tuple[int, int]]:
    """Cut gaps into pieces of at most ``longest`` bytes, in order."""
    return [(position, min(position + longest, end)) for start, end in gaps for position in range(start, end, longest)]
