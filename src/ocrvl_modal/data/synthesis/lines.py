"""The lines of a text that can be drawn: none too long for an image, each with the fonts that have all of it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.data.schema import RESERVED
from ocrvl_modal.data.synthesis.fonts import Font
from ocrvl_modal.errors import data_error, not_found

LONGEST = 90
"""Characters of a line; a longer one becomes several."""

# Where a line may be cut: after white space, and after the dot and the stroke between Tibetan syllables.
_BREAKS = frozenset(" \t\u00a0\u0f0b\u0f0d\u3000\u3001\u3002")

# Zero width non-joiner and joiner: Persian, Bengali and others are not spelled right without them.
_JOINERS = frozenset("\u200c\u200d")


@dataclass(frozen=True)
class DrawableLines:
    """The lines of a text, without those that repeat, each with its fonts.

    ``dropped`` lines have a character that no font has; ``missing`` says which, and in how many lines each.
    ``reserved`` lines are left out too: they hold a mark of the model's own, which no target may have.
    """

    lines: tuple[tuple[str, tuple[Font, ...]], ...]
    dropped: int
    missing: Mapping[str, int]
    reserved: int


def drawable_lines(path: Path, fonts: Sequence[Font]) -> DrawableLines:
    """Read a text file of UTF-8 and find the fonts of each line.

    Raises *not found* where there is no file, and a data error for one that is not UTF-8.
    """
    kept: list[tuple[str, tuple[Font, ...]]] = []
    missing: Counter[str] = Counter()
    dropped = reserved = 0
    for line in _lines(path):
        if any(mark in line for mark in RESERVED):
            reserved += 1
            continue
        lacking = [font.lacks(line) for font in fonts]
        able = tuple(font for font, lacks in zip(fonts, lacking, strict=True) if not lacks)
        if able:
            kept.append((line, able))
            continue
        dropped += 1
        # What no font at all has is to blame; where each has some of the line, what the best one lacks.
        fewest = min(len(lacks) for lacks in lacking)
        missing.update(set.intersection(*lacking) or next(lacks for lacks in lacking if len(lacks) == fewest))
    commonest = dict(sorted(missing.items(), key=lambda item: (-item[1], item[0])))
    return DrawableLines(tuple(kept), dropped, commonest, reserved)


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.exists() and not path.is_file():
            raise data_error(f"{path} is no file", "--text takes a file of UTF-8 text")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise not_found(f"there is no text file {path}", "--text takes a file of UTF-8 text") from error
    except UnicodeDecodeError as error:
        raise data_error(f"{path} is not UTF-8, from byte {error.start + 1} on", "save it as UTF-8") from error
    except OSError as error:
        raise data_error(f"{path} cannot be read: {error.strerror}", "--text takes a file of UTF-8 text") from error
    seen: set[str] = set()
    for raw in text.splitlines():
        line = "".join(filter(_is_kept, unicodedata.normalize("NFC", raw)))
        for piece in pieces(" ".join(line.split())):
            if piece and piece not in seen:
                seen.add(piece)
                yield piece


def _is_kept(letter: str) -> bool:
    """Say whether a character is of a line's text: not one that only steers a program, but joiners are spelling."""
    return letter.isprintable() or letter in _JOINERS or letter == "\t"


def pieces(line: str, longest: int = LONGEST) -> Iterator[str]:
    """Yield a line in pieces that are short enough, cut where words end, and never before a mark on a letter."""
    while len(line) > longest:
        at = next((at for at in range(longest, longest // 2, -1) if line[at - 1] in _BREAKS), longest)
        while at < len(line) and unicodedata.category(line[at]).startswith(("M", "Cf")):
            at += 1
        yield line[:at].strip()
        line = line[at:].strip()
    yield line
