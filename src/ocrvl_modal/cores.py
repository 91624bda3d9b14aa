"""The processor cores of this machine, as far as they are ours."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return how many cores this process may use; at least one."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
