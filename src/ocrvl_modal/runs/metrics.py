"""``metrics.jsonl``: one row a logged step, over all attempts, ordered by step, none missing and none double."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ocrvl_modal import files

Row = dict[str, Any]


def parse_rows(text: str) -> list[Row]:
    """Return the rows of a metrics file's text; a line that was cut off by a kill, or damaged, is none."""
    return list(_whole_rows(text.splitlines(keepends=True)))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a metrics file; none where there is no file."""
    if not path.is_file():
        return []
    return parse_rows(path.read_text(encoding="utf-8", errors="replace"))


def _whole_rows(lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        if not line.endswith("\n"):
            return
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row


class MetricsLog:
    """Appends rows to a file, and forgets those after a step when a run goes back to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[str] | None = None

    def rewind(self, step: int) -> None:
        """Drop rows after ``step``, and a last row that was cut off: the coming attempt writes them again."""
        self.close()
        kept = [row for row in read_rows(self._path) if row["step"] <= step]
        files.write_text(self._path, "".join(_line(row) for row in kept))

    def append(self, row: Row) -> None:
        """Write one row so that it outlives this process."""
        if self._stream is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("a", encoding="utf-8")
        self._stream.write(_line(row))
        self._stream.flush()

    def sync(self) -> None:
        """Make the rows so far outlive this machine's power; done before a checkpoint counts as complete."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _line(row: Row) -> str:
    # ASCII, so that a kill cuts no character in two and only our own line ends end a line.
    return json.dumps(row) + "\n"
