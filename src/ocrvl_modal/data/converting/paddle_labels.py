"""Label files of PaddleOCR: an image, a tab, and its text, or its lines as JSON.

Format: PaddleOCR's documentation of recognition and detection datasets, and what PPOCRLabel writes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ocrvl_modal.data.converting.items import Items, Page, Picture, Region, Unusable, regions_of, to_points
from ocrvl_modal.data.converting.reading import decoded, find_image, lines_of

_IGNORED = frozenset({"###", "*", "待识别"})
"""Texts that say that nobody read the line; the last is what PPOCRLabel writes into a new box."""


def read(path: Path, roots: Sequence[Path]) -> Items:
    """Yield the pages of a label file, or of each in a folder.

    An image's path starts from one of ``roots``, from the label file's folder, or, as PPOCRLabel has it, from the
    folder above that.
    """
    for file in label_files(path) if path.is_dir() else [path]:
        yield from _read_file(file, [*roots, file.parent, file.parent.parent])


def label_files(path: Path) -> list[Path]:
    """Return the label files that a path stands for: itself, or those directly in a folder."""
    if path.is_dir():
        return [file for file in sorted(path.glob("*.txt")) if is_label_file(file)]
    return [path] if is_label_file(path) else []


def is_label_file(path: Path) -> bool:
    """Say whether a file's first line is an image's name, a tab, and something."""
    try:
        _, line = next(lines_of(path), (0, b""))
        name, tab, label = decoded(line[:4096].decode("utf-8", "ignore").encode()).partition("\t")
    except (OSError, Unusable):
        return False
    looks_like_image = "." in name.rpartition("/")[2] and len(name) < 1024
    return bool(tab and label.strip()) and (looks_like_image or name.startswith("["))


def _read_file(path: Path, roots: Sequence[Path]) -> Items:
    for number, line in lines_of(path):
        origin = f"{path.name} line {number}"
        try:
            name, tab, label = decoded(line).partition("\t")
            if not tab:
                raise Unusable("bad_line", "the line has no tab: it is <image><tab><text>")
            picture = Picture(name, find_image(name, roots))
            if (lines := _lines_in(label)) is not None:
                numbered = ((f"{origin}, line {index}", line) for index, line in enumerate(lines, start=1))
                regions, broken = regions_of(numbered, _region)
                yield Page(origin, picture, regions=regions, broken=broken)
            else:
                yield Page(origin, picture, label)
        except Unusable as unusable:
            yield unusable.at(origin)


def _lines_in(label: str) -> list[dict[str, Any]] | None:
    """Return the lines of a detection label; ``None`` for one that is a text."""
    if not label.lstrip().startswith("[{") and label.strip() != "[]":
        return None
    try:
        lines = json.loads(label)
    except (ValueError, RecursionError) as error:
        if '"points"' in label:
            raise Unusable("bad_line", f"the lines are not JSON: {error}") from error
        return None
    return lines if all(isinstance(line, dict) for line in lines) else None


def _region(line: dict[str, Any]) -> Region:
    text, corners = line.get("transcription"), line.get("points")
    if not isinstance(text, str) or not isinstance(corners, list):
        raise Unusable("bad_line", "a line has no 'transcription' and 'points'")
    numbers = [number for corner in corners for number in (corner if isinstance(corner, list) else [corner])]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise Unusable("bad_points", "a line's points are no numbers")
    return Region(
        to_points([float(number) for number in numbers]), text, bool(line.get("difficult")) or text in _IGNORED
    )
