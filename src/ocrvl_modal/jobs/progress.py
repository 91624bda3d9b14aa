"""How a job tells its progress, whoever runs it: marked lines on standard error."""

from __future__ import annotations

import json
import sys

_MARK = "@progress "
_IN_BYTES = " (bytes)"


def in_bytes(what: str) -> str:
    """Return the name of progress whose units are bytes, so that whoever shows it can say how fast it goes."""
    return what + _IN_BYTES


def what_in_bytes(what: str) -> str | None:
    """Return the name that was given to :func:`in_bytes`, ``None`` for progress in other units."""
    return what.removesuffix(_IN_BYTES) if what.endswith(_IN_BYTES) else None


def report_progress(what: str, done: int, total: int) -> None:
    """Say that ``done`` of ``total`` units of ``what`` are finished."""
    print(_MARK + json.dumps([what, done, total]), file=sys.stderr, flush=True)


def parse_progress(line: str) -> tuple[str, int, int] | None:
    """Return what :func:`report_progress` said in a line, or ``None`` for any other line."""
    if not line.startswith(_MARK):
        return None
    try:
        what, done, total = json.loads(line[len(_MARK) :])
        return str(what), int(done), int(total)
    except (ValueError, TypeError):
        return None
