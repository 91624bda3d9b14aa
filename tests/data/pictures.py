"""Pictures of text, drawn for tests: lines and pages in the fonts that Pillow brings, and what becomes of copies."""

from __future__ import annotations

from io import BytesIO
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

LETTERS = "etaoinshrdlcumwfgypbvk"


def word(chance: Random) -> str:
    return "".join(chance.choice(LETTERS) for _ in range(chance.randint(2, 9)))


def words(chance: Random, count: int) -> str:
    return " ".join(word(chance) for _ in range(count))


def line(text: str, size: int = 24) -> Image.Image:
    """Return a line of text, cut as a layout model cuts it."""
    font = ImageFont.load_default(size=size)
    image = Image.new("RGB", (int(font.getlength(text)) + 8, int(size * 1.4) + 4), "white")
    ImageDraw.Draw(image).text((4, 4), text, fill=(20, 20, 20), font=font)
    return image


def page(chance: Random, lines: int = 30) -> Image.Image:
    """Return a page full of text."""
    font = ImageFont.load_default(size=16)
    image = Image.new("RGB", (620, 877), "white")
    draw = ImageDraw.Draw(image)
    for number in range(lines):
        draw.text((50, 50 + 25 * number), words(chance, 9), fill="black", font=font)
    return image


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=quality)
    return Image.open(BytesIO(stream.getvalue()))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.BICUBIC)


def copies(image: Image.Image) -> dict[str, Image.Image]:
    """Return what becomes of an image on its way through other programs."""
    return {
        "saved as JPEG": as_jpeg(image, 50),
        "smaller": scaled(image, 0.7),
        "half as large, as JPEG": as_jpeg(scaled(image, 0.5), 75),
        "twice as large": scaled(image, 2),
        "darker": ImageEnhance.Brightness(image).enhance(0.85),
        "paler": ImageEnhance.Contrast(image).enhance(0.7),
        "grey": image.convert("L"),
        "with transparency": image.convert("RGBA"),
    }
