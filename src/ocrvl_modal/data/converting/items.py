"""What every source is read into: pages with text or labelled regions, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

Points = tuple[tuple[float, float], ...]
"""The corners of a region in pixels, x and y, in order around it."""

Markup = Literal["plain", "html", "markdown"]


@dataclass(frozen=True)
class Picture:
    """An image of the source: a file, the content of one, or an address, which is not fetched here.

    ``name`` is what the source calls it.
    """

    name: str
    file: Path | None = None
    content: bytes | None = None
    url: str = ""


@dataclass(frozen=True)
class Region:
    """A part of a page with its text; nothing can be learned of one that the annotators chose to ignore."""

    points: Points
    text: str
    ignored: bool = False


@dataclass(frozen=True)
class Page:
    """One image and what is labelled of it: a text for all of it, or regions in reading order.

    ``origin`` says where in the source it is, and ``broken`` what of its regions cannot be used. ``frame`` is the width
    and height that the points are of, where the source tells; the image may have another scale.
    """

    origin: str
    picture: Picture
    text: str | None = None
    markup: Markup = "plain"
    regions: tuple[Region, ...] = ()
    broken: tuple[Dropped, ...] = ()
    frame: tuple[float, float] | None = None


@dataclass(frozen=True)
class Dropped:
    """Something of the source that gave no sample: where it is, a stable word for why, and why in full."""

    origin: str
    reason: str
    detail: str


class Unusable(Exception):
    """Ends the reading of one thing of the source: ``reason`` and ``detail`` as in :class:`Dropped`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def at(self, origin: str) -> Dropped:
        """Return it as what was dropped, of a place in the source."""
        return Dropped(origin, self.reason, self.detail)


Items = Iterator[Page | Dropped]
_Part = TypeVar("_Part")


def pages_of_files(
    paths: Iterable[Path], roots: Sequence[Path], read: Callable[[Path, Sequence[Path]], Items]
) -> Items:
    """Yield the pages that ``read`` finds in each file of an archive, and what makes it give a file up.

    Images are looked for below ``roots``, beside the file, and in the folder above it, as Transkribus exports them.
    """
    for path in paths:
        try:
            yield from read(path, [*roots, path.parent, path.parent.parent])
        except Unusable as unusable:
            yield unusable.at(path.name)


def regions_of(
    parts: Iterable[tuple[str, _Part]], read: Callable[[_Part], Region]
) -> tuple[tuple[Region, ...], tuple[Dropped, ...]]:
    """Return the regions that ``read`` makes of parts, each with its origin, and what it could not read."""
    regions: list[Region] = []
    broken: list[Dropped] = []
    for origin, part in parts:
        try:
            regions.append(read(part))
        except Unusable as unusable:
            broken.append(unusable.at(origin))
    return tuple(regions), tuple(broken)


_MOST_CORNERS = 10_000
LARGEST = 1e6
"""Pixels that no page is wide or high, in either direction."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def to_points(numbers: list[float]) -> Points:
    """Return corners from ``x1, y1, x2, y2, …``; two opposite ones become four. Raises :class:`Unusable`."""
    if len(numbers) % 2 or not 4 <= len(numbers) <= 2 * _MOST_CORNERS:
        raise Unusable("bad_points", f"{len(numbers)} numbers are no corners of a region")
    if not all(abs(number) <= LARGEST for number in numbers):
        raise Unusable("bad_points", "a corner lies beyond any image")
    points = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    if len(points) == 2:
        (left, top), (right, bottom) = points
        points = ((left, top), (right, top), (right, bottom), (left, bottom))
    return points


def to_number(text: str) -> float:
    """Return a number as label files write it; raise :class:`Unusable` for anything else, or one beyond any page."""
    bare = text.strip()
    if not _NUMBER.fullmatch(bare) or not abs(float(bare)) <= LARGEST:
        raise Unusable("bad_points", f"'{text[:20]}' is no number of pixels")
    return float(bare)


def rectangle(left: float, top: float, width: float, height: float) -> Points:
    """Return the corners of a box; raise :class:`Unusable` for one without area, whose sides could be swapped."""
    if width <= 0 or height <= 0:
        raise Unusable("bad_points", f"the box is {width:g} by {height:g} pixels")
    return to_points([left, top, left + width, top + height])
