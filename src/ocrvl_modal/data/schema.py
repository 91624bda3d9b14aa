"""What a dataset is made of: samples, and the problems of rows that are none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One image, what the model is asked of it, and what it should answer.

    ``image`` is absolute; ``line`` is the row's line in its file, counted from 1.
    """

    image: Path
    prompt: str
    target: str
    line: int


@dataclass(frozen=True)
class Problem:
    """Why a row, or a whole file where ``line`` is ``None``, cannot be used.

    ``kind`` is a stable word to count and filter by, ``message`` is for the user, and ``hint`` mends it where there
    is more to say than to correct the row.
    """

    line: int | None
    kind: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """Return the problem as it stands in JSON output."""
        return {"line": self.line, "kind": self.kind, "message": self.message, "hint": self.hint}
