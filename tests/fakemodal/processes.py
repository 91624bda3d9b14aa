"""Processes of this machine, from /proc."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path


def descendants(ancestor: int) -> list[int]:
    """All processes below one; a container's are those below its launcher, whatever session they are in."""
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):  # it ended while we looked
            continue
        children[parent].append(int(folder.name))
    found, todo = [], [ancestor]
    while todo:
        below = children[todo.pop()]
        found += below
        todo += below
    return found
