"""What a scanner does to a page: a little skew, blur and noise, the same for the same seed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_DEGREES = 1.6
_MOST_BLUR_PIXELS = 0.9
_MOST_NOISE = 0.16


def worn(image: Image, paper: tuple[int, int, int], random: Random) -> Image:
    """Return an image as if it had been scanned; ``paper`` fills the corners that turning leaves free."""
    from PIL import ImageFilter
    from PIL.Image import Resampling

    turned = image.rotate(
        random.uniform(-_MOST_DEGREES, _MOST_DEGREES), Resampling.BICUBIC, expand=True, fillcolor=paper
    )
    blurred = turned.filter(ImageFilter.GaussianBlur(random.uniform(0.0, _MOST_BLUR_PIXELS)))
    return _with_noise(blurred, random.uniform(0.0, _MOST_NOISE), random)


def _with_noise(image: Image, strength: float, random: Random) -> Image:
    import PIL.Image

    grain = PIL.Image.frombytes("L", image.size, random.randbytes(image.width * image.height))
    return PIL.Image.blend(image, grain.convert("RGB"), strength)
