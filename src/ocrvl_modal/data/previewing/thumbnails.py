"""Images small enough for a thousand of them to fit in one page."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

BUDGET_BYTES = 48_000_000
"""About what all images of a page may take together."""

_LARGEST_SIDE = 1600
_LEAST_BYTES = 12_000
_MOST_BYTES = 400_000
_QUALITY = 72
_ATTEMPTS = 4


@dataclass(frozen=True)
class Thumbnail:
    """An image as a page can hold it: its address, its own size in pixels, and that of the file."""

    address: str
    width: int
    height: int
    file_width: int
    file_height: int


def bytes_for_each(images: int) -> int:
    """Return the bytes that each of so many images of a page may take."""
    return min(_MOST_BYTES, max(_LEAST_BYTES, BUDGET_BYTES // max(1, images)))


def thumbnail(path: Path, most_bytes: int) -> Thumbnail | None:
    """Return the image in a file as a WebP of about ``most_bytes`` at most; ``None`` where it cannot be drawn.

    Nothing is turned by EXIF, since the engines do not turn it either, and transparent parts are white, as they are
    to the engines.
    """
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path) as opened:
                size = opened.size
                opened.draft("RGB", (_LARGEST_SIDE, _LARGEST_SIDE))
                image = _on_white(opened)
    except Exception:  # noqa: BLE001 - each format's decoder fails in ways of its own; check says what is wrong
        return None
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    content = _webp(image)
    for _ in range(_ATTEMPTS):
        if len(content) <= most_bytes:
            break
        # A picture's bytes grow about as its area does.
        shrink = max(0.4, (most_bytes / len(content)) ** 0.5 * 0.95)
        image = image.resize((max(1, round(image.width * shrink)), max(1, round(image.height * shrink))))
        content = _webp(image)
    address = "data:image/webp;base64," + base64.b64encode(content).decode("ascii")
    return Thumbnail(address, image.width, image.height, *size)


def _on_white(image: Image) -> Image:
    import PIL.Image

    if image.mode.startswith(("I;16", "I", "F")):
        return image.convert("F").point(lambda value: value / 256).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    white = PIL.Image.new("RGB", image.size, "white")
    white.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return white


def _webp(image: Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=_QUALITY, method=2)
    return content.getvalue()
