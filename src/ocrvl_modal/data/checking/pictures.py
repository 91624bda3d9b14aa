"""Whether two images that a hash calls alike are one picture: their pixels decide, at the size of the smaller."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ocrvl_modal.data.checking.likeness import grey

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_COMPARED = 5000
"""Pairs that are compared at most: a dataset of one form, filled in thousands of times, has no end of them."""

_MOST_COMPARED_EACH = 16
_MOST_PIXELS = 2_000_000
_BLUR_PIXELS = 1
# Of 255 levels, where two pictures differ most. Copies scaled to half or double, or saved as JPEG of quality 25, stay
# below 42; lines of text that differ in one letter, 12 pixels high, begin at 87.
_MOST_DIFFERENCE = 60


class Pictures:
    """Compares the images of a dataset two at a time, and counts how many it did not come to."""

    def __init__(self, path_of: Callable[[int], Path], most: int = MOST_COMPARED) -> None:
        """``path_of`` names the file of an image by its index."""
        self._path_of = path_of
        self._left = most
        self._compared: dict[int, int] = {}
        self._seen: dict[tuple[int, int], bool] = {}
        self.not_compared = 0

    def __call__(self, one: int, other: int) -> bool:
        """Say whether two images are one picture; ``False`` as well where too many were compared already."""
        pair = (one, other) if one < other else (other, one)
        if pair in self._seen:
            return self._seen[pair]
        if not self._left or max(self._compared.get(index, 0) for index in pair) >= _MOST_COMPARED_EACH:
            self.not_compared += 1
            return False
        self._left -= 1
        for index in pair:
            self._compared[index] = self._compared.get(index, 0) + 1
        self._seen[pair] = same = are_one_picture(self._path_of(one), self._path_of(other))
        return same


def are_one_picture(one: Path, other: Path) -> bool:
    """Say whether two files show the same, but for scale, compression and brightness; ``False`` for an unreadable one.

    Two lines of text are told apart by a single letter, as long as it is legible.
    """
    import PIL.ImageChops

    try:
        first, second = _grey_of(one), _grey_of(other)
    except Exception:  # noqa: BLE001 - each format's decoder fails in ways of its own
        return False
    size = min(first.size, second.size)
    difference = PIL.ImageChops.difference(_prepared(first, size), _prepared(second, size))
    return int(max(difference.getextrema())) <= _MOST_DIFFERENCE


@lru_cache(maxsize=8)
def _grey_of(path: Path) -> Image:
    """Return an image in grey, a large one scaled down: the same page is often compared several times."""
    import PIL.Image

    with PIL.Image.open(path) as image:
        picture = grey(image)
    shrink = (_MOST_PIXELS / (picture.width * picture.height)) ** 0.5
    if shrink >= 1:
        return picture
    size = max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink))
    return picture.resize(size, PIL.Image.Resampling.BILINEAR)


def _prepared(image: Image, size: tuple[int, int]) -> Image:
    """Return an image at a size, softened, with its darkest as black and its lightest as white."""
    from PIL.Image import Resampling
    from PIL.ImageFilter import GaussianBlur
    from PIL.ImageOps import autocontrast

    return autocontrast(image.resize(size, Resampling.BILINEAR).filter(GaussianBlur(_BLUR_PIXELS)))
