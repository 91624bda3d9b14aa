"""Numbers as a person reads them."""

from __future__ import annotations

from datetime import datetime, timezone

_DAY_S = 86_400


def size(size_bytes: float) -> str:
    """Return ``1.8 GiB`` and the like."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(size_bytes, 1) < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def duration(seconds: float) -> str:
    """Return ``42 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def ago(moment: datetime) -> str:
    """Return how long ago a moment was."""
    seconds = max(0.0, (datetime.now(timezone.utc) - moment).total_seconds())
    return f"{seconds / _DAY_S:.0f} days ago" if seconds >= 2 * _DAY_S else f"{duration(seconds)} ago"


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}"
