"""Images that look alike: a hash of what is seen, and the search for hashes that nearly agree.

The hash is a difference hash: each of 256 bits says whether a spot of the image is clearly darker than the one beside
it. The grid of spots follows the image's shape, so that in a line of text a spot is about as large as a letter. A copy
that was scaled, saved again as a JPEG or made somewhat lighter or darker keeps most of its bits; one that was cut,
turned, mirrored or moved by a spot does not. Lines of text that differ in a letter or two keep most of them as well,
so what the hash finds is for :mod:`ocrvl_modal.data.checking.pictures` to confirm.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

BITS = 256
"""Spots that are compared with their neighbour; above them the hash has the grid's number."""

MOST_BITS = 12
"""Images that differ in more bits than these are never called alike."""

# Spots across and down, by how many times its height an image is wide: at most this, else the next. No common shape of
# a page, a photo or a screen is near a bound, where a copy could get another grid.
_GRIDS = ((1 / 8.8, (4, 64)), (1 / 2.2, (8, 32)), (2.2, (16, 16)), (8.8, (32, 8)), (float("inf"), (64, 4)))
_COARSE = 8
# Of 255 levels from the image's own darkest spot to its lightest.
_CLEARLY_DARKER = 14
_LEAST_CONTRAST = 12
# With fewer edges there is too little in an image to tell it from others.
_LEAST_EDGES = 6
# Alike are images that differ in no more than one of so many edges.
_EDGES_PER_BIT = 3
# More that share a part are divided further before any two are compared.
_CROWD = 48
_NEIGHBOURS = 4


def likeness(image: Image) -> int | None:
    """Return the hash of a decoded image; ``None`` for one that is blank or nearly so, which is like any other.

    Bits side by side are far apart in the image. Transparent parts count as white, as the engines take them.
    """
    from PIL.Image import Resampling

    grid = _grid_of(image.width, image.height)
    across, down = _GRIDS[grid][1]
    wide = across >= down
    # Bilinear: a spot takes in a little of its neighbours, so that it hardly matters where its bounds fall. And not at
    # one go: spots of a full page differ by parts of a level.
    size = min(image.width, across * _COARSE), min(image.height, down * _COARSE)
    coarse = grey(image).resize(size, Resampling.BILINEAR).convert("F")
    levels = array("f", coarse.resize((across + wide, down + (not wide)), Resampling.BILINEAR).tobytes())
    contrast = max(levels) - min(levels)
    least = _CLEARLY_DARKER * contrast / 255
    bits = 0
    for place, (one, other) in enumerate(_pairs(across, down)):
        if levels[one] - levels[other] > least:
            bits |= 1 << place
    has_enough = contrast >= _LEAST_CONTRAST and bits.bit_count() >= _LEAST_EDGES
    return grid << BITS | bits if has_enough else None


def grey(image: Image) -> Image:
    """Return an image in 256 levels of grey, its transparent parts white."""
    import PIL.Image

    if image.mode.startswith(("I", "F")):
        return _stretched(image)
    if not image.has_transparency_data:
        return image.convert("L")
    with_alpha = image.convert("RGBA")
    white = PIL.Image.new("L", image.size, 255)
    white.paste(with_alpha.convert("L"), mask=with_alpha.getchannel("A"))
    return white


def are_alike(one: int, other: int, most_bits: int = MOST_BITS) -> bool:
    """Say whether two hashes differ in few bits: at most ``most_bits``, and few of the edges that both have."""
    differing = (one ^ other).bit_count()
    return differing <= most_bits and differing * 2 * _EDGES_PER_BIT <= one.bit_count() + other.bit_count()


def near_duplicates(
    hashes: Sequence[int], most_bits: int = MOST_BITS, same: Callable[[int, int], bool] | None = None
) -> list[tuple[int, ...]]:
    """Return the groups of images that look alike, each as indices in order: a member is like another one of its group.

    ``same`` confirms two indices whose hashes are alike, see :class:`~ocrvl_modal.data.checking.pictures.Pictures`;
    without it the hashes decide, for which lines of text that differ in a letter may be one. Hashes that differ in few
    bits agree in one of as many parts plus one, so only those that share a part are compared, and a part that many
    share is divided again. The time grows little faster than the number of hashes, whatever they are; among hundreds
    that differ in a few places only, a pair may be missed.
    """
    joined = _Joined(len(hashes))
    for one, other in _alike(hashes, most_bits):
        if joined.root(one) != joined.root(other) and (same is None or same(one, other)):
            joined.join(one, other)
    groups: dict[int, list[int]] = {}
    for number in range(len(hashes)):
        groups.setdefault(joined.root(number), []).append(number)
    return [tuple(group) for group in groups.values() if len(group) > 1]


class _Joined:
    """Which numbers belong together, as trees of which each names its root."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def root(self, number: int) -> int:
        while (above := self._above[number]) != number:
            self._above[number] = number = self._above[above]
        return number

    def join(self, one: int, other: int) -> None:
        self._above[self.root(one)] = self.root(other)


def _alike(hashes: Sequence[int], most_bits: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of indices whose hashes are alike; equal hashes are collapsed first, and yield a chain."""
    members: dict[int, list[int]] = {}
    for index, value in enumerate(hashes):
        members.setdefault(value, []).append(index)
    for equal in members.values():
        yield from pairwise(equal)
    distinct = sorted(members)
    for one, other in _near(distinct, most_bits):
        if are_alike(distinct[one], distinct[other], most_bits):
            yield members[distinct[one]][0], members[distinct[other]][0]


def _near(hashes: Sequence[int], most_bits: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of places in sorted ``hashes`` that differ in few bits, some of them more than once."""
    parts = most_bits + 1
    for crowd in _sharing(hashes, range(len(hashes)), parts):
        if len(crowd) <= _CROWD:
            yield from _near_within(hashes, crowd, len(crowd), most_bits)
            continue
        # Those that share this part may differ in all others, but not in each half of the others.
        for smaller in _sharing(hashes, crowd, 2 * parts):
            if len(smaller) < len(crowd):
                window = len(smaller) if len(smaller) <= _CROWD else _NEIGHBOURS
                yield from _near_within(hashes, smaller, window, most_bits)
        yield from _near_within(hashes, crowd, _NEIGHBOURS, most_bits)


def _sharing(hashes: Sequence[int], places: Sequence[int], parts: int) -> Iterator[list[int]]:
    """Yield, for each of so many parts of the bits, the places whose hashes agree in that part and in the grid."""
    bounds = [BITS * part // parts for part in range(parts + 1)]
    for low, high in pairwise(bounds):
        mask = (1 << high) - (1 << low) | ~((1 << BITS) - 1)
        alone: dict[int, int] = {}
        sharing: dict[int, list[int]] = {}
        for place in places:
            part = hashes[place] & mask
            if part in alone:
                sharing.setdefault(part, [alone[part]]).append(place)
            else:
                alone[part] = place
        yield from sharing.values()


def _near_within(
    hashes: Sequence[int], places: Sequence[int], window: int, most_bits: int
) -> Iterator[tuple[int, int]]:
    """Yield the pairs that differ in few bits, of each place and those that follow within the window."""
    values = [hashes[place] for place in places]
    for number, one in enumerate(values):
        for ahead, other in enumerate(values[number + 1 : number + window], start=number + 1):
            if (one ^ other).bit_count() <= most_bits:
                yield places[number], places[ahead]


def _grid_of(width: int, height: int) -> int:
    return next(number for number, (most, _) in enumerate(_GRIDS) if width <= most * height)


@lru_cache
def _pairs(across: int, down: int) -> tuple[tuple[int, int], ...]:
    """Return the places of the two spots that each bit compares, along the grid's longer side."""
    wide = across >= down
    row = across + wide
    first = [y * row + x for y in range(down) for x in range(across)]
    # 97 has no divisor in common with 256, so that each spot has its turn.
    spread = [first[place * 97 % BITS] for place in range(BITS)]
    return tuple((one, one + (1 if wide else row)) for one in spread)


def _stretched(image: Image) -> Image:
    """Return grey of more than 8 bits with its own darkest as black and its lightest as white."""
    wide = image.convert("F")
    darkest, lightest = wide.getextrema()
    scale = 255 / ((lightest - darkest) or 1)
    return wide.point(lambda value: value * scale - darkest * scale).convert("L")
