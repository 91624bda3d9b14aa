"""Folders of the ICDAR reading competitions: ``img_1.jpg`` with ``gt_img_1.txt``, a word's corners and text a line.

Format: the pages of ICDAR 2013, 2015 and 2017 MLT at the Robust Reading Competition; ``###`` marks what is illegible.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ocrvl_modal.data.converting.items import (
    Dropped,
    Items,
    Page,
    Picture,
    Region,
    Unusable,
    regions_of,
    to_number,
    to_points,
)
from ocrvl_modal.data.converting.reading import ambiguous, begins_with, decoded, files_below, images_below, lines_of

IGNORED = "###"

_SCRIPTS = frozenset(
    {"Arabic", "Bangla", "Bengali", "Chinese", "Hindi", "Japanese", "Korean", "Latin", "Mixed", "None", "Symbols"}
)
_BOX = re.compile(r'\s*(-?\d+)[,\s]+(-?\d+)[,\s]+(-?\d+)[,\s]+(-?\d+)[,\s]+"(.*)"\s*')


def read(path: Path, roots: Sequence[Path]) -> Items:
    """Yield a page for each file of words; its image has the same name, without ``gt_``, somewhere below.

    Training and test data call their images alike: of several the one is taken whose folder is next to the words.
    """
    images = [_by_stem(root) for root in (*roots, path)]
    for file in files_below(path):
        if file.suffix.lower() == ".txt" and is_words_file(file):
            yield _page(file, path, images)


def is_words_file(path: Path) -> bool:
    """Say whether a file's first line is the corners of a word and its text."""
    return begins_with(path, lambda line: _region(line.decode("utf-8", "ignore")))


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for image in images_below(folder):
        found.setdefault(image.stem.lower(), []).append(image)
    return found


def _image_of(file: Path, images: Sequence[Mapping[str, list[Path]]]) -> Path:
    """Return the image that a file of words is of; raise :class:`Unusable` where it is not there, or not certain."""
    stem = file.stem.lower()
    bare = stem.removeprefix("gt_")
    named = next((found for stems in images for name in (bare, stem) if (found := stems.get(name))), None)
    if not named:
        raise Unusable("image_missing", f"there is no image named {bare}")
    shared = [len(os.path.commonpath([image.absolute(), file.absolute()])) for image in named]
    nearest = [image for image, length in zip(named, shared, strict=True) if length == max(shared)]
    if len(nearest) > 1:
        raise ambiguous(bare, nearest)
    return nearest[0]


def _page(file: Path, folder: Path, images: Sequence[Mapping[str, list[Path]]]) -> Page | Dropped:
    origin = file.relative_to(folder).as_posix()
    try:
        image = _image_of(file, images)
        numbered = ((f"{origin} line {number}", line) for number, line in lines_of(file))
        regions, broken = regions_of(numbered, lambda line: _region(decoded(line)))
    except OSError as error:
        return Dropped(origin, "unreadable", f"it cannot be read: {error.strerror or error}")
    except Unusable as unusable:
        return unusable.at(origin)
    return Page(origin, Picture(image.name, image), regions=regions, broken=broken)


def _region(line: str) -> Region:
    """Read ``x1,y1,…,x4,y4,text``, with the script before the text or not, or ``left, top, right, bottom, "text"``."""
    if box := _BOX.fullmatch(line):
        numbers, text = [float(box[index]) for index in range(1, 5)], box[5]
    else:
        parts = line.split(",", 8)
        if len(parts) < 9:
            raise Unusable("bad_line", "the line is not x1,y1,x2,y2,x3,y3,x4,y4,text")
        numbers, text = [to_number(part) for part in parts[:8]], parts[8]
        script, comma, rest = text.partition(",")
        if comma and script in _SCRIPTS:
            text = rest
    return Region(to_points(numbers), text, text.strip() == IGNORED)
