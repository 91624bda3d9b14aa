"""Fonts, and which characters each can draw: told by its table of characters, so that none is drawn as a box."""

from __future__ import annotations

import importlib.util
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ocrvl_modal.errors import data_error, first_line, not_found, usage_error

if TYPE_CHECKING:
    from PIL import ImageFont

_ENDINGS = frozenset({".ttf", ".otf", ".ttc", ".otc"})
_COLLECTIONS = frozenset({".ttc", ".otc"})
_BUILT_IN = "the built-in font"
_UNDEFINED = ".notdef"
_CACHED_SIZES = 512

# Letters of these join, move or stack, or run from right to left: drawn one after another they would be wrong.
_SHAPED = """
    adlam arabic balinese bengali chakma devanagari gujarati gurmukhi hebrew javanese kannada khmer lao limbu malayalam
    mandaic meetei mongolian myanmar nko oriya sinhala sundanese syriac tai tamil telugu thaana thai tibetan
"""


@dataclass(frozen=True)
class Font:
    """One font: where it is (``None``: built into Pillow), its number in its file, and the characters that it has."""

    path: Path | None
    number: int
    characters: frozenset[int] = field(repr=False)

    @property
    def name(self) -> str:
        """What the output calls it."""
        return _BUILT_IN if self.path is None else self.path.name

    def lacks(self, text: str) -> set[str]:
        """Return the characters of a text that the font cannot draw."""
        return {letter for letter in set(unicodedata.normalize("NFC", text)) if not self._draws(letter)}

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """Return the font in a size, to draw with."""
        return _opened(self.path, self.number, size)

    def _draws(self, letter: str) -> bool:
        if ord(letter) in self.characters or letter.isspace() or unicodedata.category(letter) == "Cf":
            return True
        parts = unicodedata.normalize("NFD", letter)
        return len(parts) > 1 and all(ord(part) in self.characters for part in parts)


def find_fonts(sources: Sequence[Path]) -> list[Font]:
    """Return the fonts of files and of folders, by name; Pillow's own, which has Latin letters, where none is named.

    A file in a folder that is no font is passed over. Raises *not found* for a missing file or a folder without fonts,
    a data error for a named file that is no font, and a usage error where fonttools is not installed.
    """
    if importlib.util.find_spec("fontTools") is None:
        raise usage_error(
            "looking into fonts needs fonttools, which is not installed", "pip install 'ocrvl-modal[data]'"
        )
    # fonttools says aloud what it finds odd in a font.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    if not sources:
        return [Font(None, 0, _characters(BytesIO(_built_in(20).font_bytes), 0))]
    return [font for source in sources for font in _fonts_at(source)]


def require_shaping(scripts: Iterable[str]) -> None:
    """Raise a usage error where a script's letters have to be shaped, and this Pillow cannot."""
    from PIL import features

    shaped = sorted(set(_SHAPED.split()) & set(scripts))
    if shaped and not features.check("raqm"):
        raise usage_error(
            f"{', '.join(shaped)} cannot be drawn right: this Pillow was built without raqm, which shapes its letters",
            "pip install --force-reinstall --only-binary :all: pillow",
        )


def _fonts_at(source: Path) -> list[Font]:
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())
        fonts = [font for file in files for font in _fonts_in(file, strict=False)]
        if not fonts:
            raise not_found(f"there is no font ({' '.join(sorted(_ENDINGS))}) in {source}", "--fonts a-font.ttf")
        return fonts
    if not source.is_file():
        raise not_found(f"there is no font {source}", "--fonts takes font files, and folders with some")
    return _fonts_in(source, strict=True)


def _fonts_in(file: Path, *, strict: bool) -> list[Font]:
    try:
        # Variants in a collection differ little: the first stands for all.
        with file.open("rb") as stream:
            return [Font(file, 0, _characters(stream, 0 if file.suffix.lower() in _COLLECTIONS else -1))]
    except Exception as error:  # the library has no class of its own for it
        if strict:
            raise data_error(f"{file} is no font: {first_line(error)}", "--fonts takes .ttf and .otf files") from error
        return []


def _characters(stream: BinaryIO, number: int) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with TTFont(stream, fontNumber=number, lazy=True) as font:
        table = font.getBestCmap() or {}
    return frozenset(character for character, glyph in table.items() if glyph != _UNDEFINED)


@lru_cache(_CACHED_SIZES)
def _opened(path: Path | None, number: int, size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return _built_in(size) if path is None else ImageFont.truetype(str(path), size, index=number)


def _built_in(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    font: Any = ImageFont.load_default(size=size)
    return font
