"""The targets of spotting: lines of text, each with the corners of the box that it stands in."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LOCATION = re.compile(r"<\|LOC_(\d+)\|>")
_CORNERS = 4


@dataclass(frozen=True)
class Spotted:
    """One text and its corners, clockwise from the top left, in thousandths of the image's width and height."""

    text: str
    corners: tuple[tuple[int, int], ...]


def spotted(target: str) -> list[Spotted]:
    """Return what a target spots, in its order; a line without exactly eight numbers has no corners."""
    found: list[Spotted] = []
    for line in target.splitlines():
        if not line.strip():
            continue
        numbers = [int(number) for number in _LOCATION.findall(line)[: 2 * _CORNERS + 1] if len(number) < 5]
        text = _LOCATION.sub("", line).strip()
        corners = tuple(zip(numbers[::2], numbers[1::2], strict=False)) if len(numbers) == 2 * _CORNERS else ()
        found.append(Spotted(text, corners))
    return found
