"""How much work files are, and how many processes it is worth to start for them."""

from __future__ import annotations

from ocrvl_modal.cores import usable_cores

_FILE_BYTES = 24 << 10
"""To open and to look up a file takes as long as to read so many bytes, and to take their digest."""

_MUCH_BYTES = 512 << 20
"""To read so many bytes takes some four times as long as to start a process."""


def worthwhile_processes(files: int, size_bytes: int, parts: int) -> int:
    """Return how many processes should read files of so many bytes in all, which come in so many parts; 1 is none."""
    return min(usable_cores(), parts) if files * _FILE_BYTES + size_bytes >= _MUCH_BYTES else 1
