"""The lines by which the trainer tells its supervisor what happens, and how they are read back.

They are for people too: ``loss: 2.302585, learning_rate: 0.003, global_step: 12, …``. Numbers are written so that
nothing of them is lost.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ocrvl_modal.errors import OcrvlError

_PAIR = re.compile(r"([a-z_]+): (-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)")
_SAVED = re.compile(r"saved checkpoint-(\d+)")
_ERROR = "error: "


def format_values(**values: float) -> str:
    """Return the line of a logged step or an evaluation."""
    return ", ".join(f"{name}: {value!r}" for name, value in values.items())


def parse_values(line: str) -> dict[str, float] | None:
    """Return what :func:`format_values` wrote, or ``None`` for any other line."""
    pairs = [_PAIR.fullmatch(part) for part in line.strip().split(", ")]
    values = {pair[1]: float(pair[2]) for pair in pairs if pair}
    return values if len(values) == len(pairs) else None


def format_saved(step: int) -> str:
    """Return the line that says that a checkpoint has its name."""
    return f"saved checkpoint-{step}"


def parse_saved(line: str) -> int | None:
    """Return the step of a line of :func:`format_saved`, or ``None``."""
    match = _SAVED.fullmatch(line.strip())
    return int(match[1]) if match else None


def format_error(error: OcrvlError) -> str:
    """Return the line that carries an error to the user."""
    return _ERROR + json.dumps(error.to_dict(), ensure_ascii=False)


def parse_error(line: str) -> OcrvlError | None:
    """Return the error of a line of :func:`format_error`, or ``None``."""
    text = line.strip()
    if not text.startswith(_ERROR):
        return None
    try:
        content: Any = json.loads(text.removeprefix(_ERROR))
    except (ValueError, RecursionError):
        return None
    return OcrvlError.from_dict(content) if isinstance(content, dict) and "message" in content else None
