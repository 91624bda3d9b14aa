"""What an engine prints, as it is kept: whole where it is of a sensible length, and bounded where it is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

STRETCH_BYTES = 1 << 20
"""Kept of what an engine prints between two steps; more than that is the same warning again and again."""

LOG_BYTES = 64 << 20
"""Kept of an attempt in all."""

_LAST_LINES = 100
_LONGEST_HELD_LINE = 1 << 12


class EngineLog:
    """The log of an attempt. What is over the bounds is left out and counted; the last lines are always kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = path.stat().st_size if path.is_file() else 0
        self._stretch = 0
        self._dropped = 0
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._stream: IO[str] | None = None
        self.bytes_since_progress = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the file to add to it; on leaving, what was held back is written, and the file closed."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as self._stream:
            try:
                yield
            finally:
                self._tell_of_dropped()
                self._stream.flush()

    def write(self, line: str) -> None:
        """Add a line, or hold it back where the bounds are reached."""
        size = _size(line)
        self.bytes_since_progress += size
        if self._stretch + size > STRETCH_BYTES or self._written + size > LOG_BYTES:
            if len(self._last) == self._last.maxlen:
                self._dropped += 1
            self._last.append(line[:_LONGEST_HELD_LINE])
            return
        self._stretch += size
        self._put(line)

    def progress(self) -> None:
        """Say that the engine made a step: lines may be added again."""
        if self._written < LOG_BYTES:
            self._tell_of_dropped()
        self._stretch = 0
        self.bytes_since_progress = 0

    def _tell_of_dropped(self) -> None:
        """Write the lines that were held back last, under how many went before them."""
        if self._dropped:
            self._put(f"[ocrvl] {self._dropped} lines were left out here: an engine may print too much to keep")
        for line in self._last:
            self._put(line)
        self._last.clear()
        self._dropped = 0

    def _put(self, line: str) -> None:
        assert self._stream is not None
        self._written += _size(line)
        self._stream.write(line + "\n")
        self._stream.flush()


def _size(line: str) -> int:
    return len(line.encode("utf-8", errors="replace")) + 1
