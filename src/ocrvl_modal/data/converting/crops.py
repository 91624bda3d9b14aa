"""Regions cut out of a page: straightened where they have four corners, masked where they have more."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from ocrvl_modal.data.converting.items import Page, Picture, Points, Unusable

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 178_956_970
"""Pillow's own limit, from which on it takes an image for a decompression bomb."""

_SMALLEST = 2
_TURNED_BY_EXIF = (5, 6, 7, 8)
_EXIF_ORIENTATION = 0x0112


@contextmanager
def opened(page: Page) -> Iterator[tuple[Image, bool]]:
    """Yield a page's image as RGB, and whether it had to be turned; raise :class:`Unusable` for one that is not whole.

    Points are of the stored pixels, as the engines see them; an image is turned by its EXIF orientation only where
    the source says that its page is as high as the image is wide.
    """
    import PIL.Image
    import PIL.ImageOps

    from ocrvl_modal.engines.images import as_rgb

    try:
        with warnings.catch_warnings():
            # Between once and twice the limit Pillow only warns: an archive's page may be that large.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(_source(page.picture)) as stored:
                turned = _is_turned(stored, page.frame)
                image = as_rgb(PIL.ImageOps.exif_transpose(stored) if turned else stored)
    except PIL.Image.DecompressionBombError as error:
        raise Unusable("image_too_large", f"{page.picture.name} has more than {MOST_PIXELS:,} pixels") from error
    except PIL.UnidentifiedImageError as error:
        raise Unusable("not_an_image", f"{page.picture.name} is no image in a format that Pillow reads") from error
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        raise Unusable("image_unreadable", f"{page.picture.name} cannot be read: {error}") from error
    yield image, turned


def scaled(points: Points, frame: tuple[float, float] | None, size: tuple[int, int]) -> Points:
    """Return points of a page's frame as points of its image.

    Raises :class:`Unusable` where the two are not of one shape: the image is another one, or was cut.
    """
    if frame is None or frame == size:
        return points
    across, down = size[0] / frame[0], size[1] / frame[1]
    # A pixel more or less is rounding.
    if abs(across - down) > 0.02 * max(across, down) + 2 / min(frame):
        raise Unusable(
            "size_mismatch",
            f"the image has {size[0]} by {size[1]} pixels, and its points are of {frame[0]:.0f} by {frame[1]:.0f}",
        )
    return tuple((x * across, y * down) for x, y in points)


def crop(image: Image, points: Points) -> Image:
    """Return a region of an image.

    Four corners become a rectangle by perspective, the first one its top left: so a line is read from left to right
    however it lies on the page. Of a polygon its surroundings get the colour of the paper, which hides the neighbours.
    Raises :class:`Unusable` for a region without area, or outside of the image.
    """
    left, top = min(x for x, _ in points), min(y for _, y in points)
    right, bottom = max(x for x, _ in points), max(y for _, y in points)
    if right <= 0 or bottom <= 0 or left >= image.width or top >= image.height:
        raise Unusable("outside_image", f"the region lies outside of the {image.width} by {image.height} image")
    if len(points) == 4 and not _is_upright(points):
        return _straightened(image, points)
    box = (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(image.width, math.ceil(right)),
        min(image.height, math.ceil(bottom)),
    )
    _require_area(box[2] - box[0], box[3] - box[1])
    part = image.crop(box)
    return part if len(points) == 4 else _masked(part, tuple((x - box[0], y - box[1]) for x, y in points))


def _source(picture: Picture) -> object:
    return picture.file if picture.file is not None else BytesIO(picture.content or b"")


def _is_turned(image: Image, frame: tuple[float, float] | None) -> bool:
    if frame is None or image.getexif().get(_EXIF_ORIENTATION) not in _TURNED_BY_EXIF:
        return False
    as_stored = abs(math.log(frame[0] / frame[1] * image.height / image.width))
    as_shown = abs(math.log(frame[0] / frame[1] * image.width / image.height))
    return as_shown < as_stored


def _is_upright(points: Points) -> bool:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    return x0 == x3 < x1 == x2 and y0 == y1 < y2 == y3


def _require_area(width: float, height: float) -> None:
    if width < _SMALLEST or height < _SMALLEST:
        raise Unusable("bad_points", f"the region is {max(0, round(width))} by {max(0, round(height))} pixels")


def _straightened(image: Image, points: Points) -> Image:
    import PIL.Image

    first, second, third, fourth = points
    width = round(max(math.dist(first, second), math.dist(fourth, third)))
    height = round(max(math.dist(first, fourth), math.dist(second, third)))
    _require_area(width, height)
    if width > 2 * (image.width + image.height) or height > 2 * (image.width + image.height):
        raise Unusable("outside_image", "the region is larger than the image")
    coefficients = _perspective(points, width, height)
    return image.transform(
        (width, height), PIL.Image.Transform.PERSPECTIVE, coefficients, PIL.Image.Resampling.BICUBIC, fillcolor="white"
    )


def _perspective(points: Points, width: int, height: int) -> tuple[float, ...]:
    """Return the eight coefficients that map the pixels of a rectangle to those of a quadrilateral.

    The map of the unit square, in closed form, after Heckbert, "Fundamentals of Texture Mapping and Image Warping".
    Raises :class:`Unusable` for corners that are no quadrilateral.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    if not area:
        raise Unusable("bad_points", "the four corners lie on a line")
    g = (sx * dy2 - dx2 * sy) / area
    h = (dx1 * sy - sx * dy1) / area
    if min(1, 1 + g, 1 + h, 1 + g + h) <= 0:
        raise Unusable("bad_points", "the four corners are no quadrilateral: its sides cross")
    across, down = (x1 - x0 + g * x1, y1 - y0 + g * y1), (x3 - x0 + h * x3, y3 - y0 + h * y3)
    return (
        *(across[0] / width, down[0] / height, x0),
        *(across[1] / width, down[1] / height, y0),
        *(g / width, h / height),
    )


def _masked(part: Image, points: Points) -> Image:
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageStat

    mask = PIL.Image.new("L", part.size, 0)
    PIL.ImageDraw.Draw(mask).polygon([(x, y) for x, y in points], fill=255)
    if mask.getextrema()[1] == 0:
        raise Unusable("bad_points", "the region has no area")
    paper = tuple(int(value) for value in PIL.ImageStat.Stat(part).median)
    return PIL.Image.composite(part, PIL.Image.new(part.mode, part.size, paper), mask)
