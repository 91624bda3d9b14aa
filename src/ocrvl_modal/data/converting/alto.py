"""ALTO: the transcriptions of libraries' digitization, line by line.

Format: ALTO 2 to 4 of the Library of Congress.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from ocrvl_modal.data.converting.items import (
    Items,
    Page,
    Picture,
    Points,
    Region,
    Unusable,
    pages_of_files,
    rectangle,
    regions_of,
    to_number,
    to_points,
)
from ocrvl_modal.data.converting.reading import find_moved_image
from ocrvl_modal.data.converting.safe_xml import children, descendants, local_name, parse

ROOT = "alto"


def read(paths: Iterable[Path], roots: Sequence[Path]) -> Items:
    """Yield a page for each file, its lines as they stand.

    The image is the one that the file names, or has the file's own name.
    """
    return pages_of_files(paths, roots, _pages)


def _pages(path: Path, roots: Sequence[Path]) -> Items:
    root = parse(path)
    named = [(element.text or "").strip() for element in descendants(root, "fileName")]
    file = find_moved_image(named, path, roots)
    in_pixels = any((unit.text or "").strip() == "pixel" for unit in descendants(root, "MeasurementUnit"))
    for page in descendants(root, "Page"):
        frame = _frame(page)
        if frame is None and not in_pixels:
            raise Unusable("bad_points", "its measures are no pixels, and the page does not say how large it is")
        lines = [(f"{path.name} line {line.get('ID', '')}", line) for line in descendants(page, "TextLine")]
        regions, broken = regions_of(lines, _region)
        yield Page(path.name, Picture(file.name, file), regions=regions, broken=broken, frame=frame)


def _frame(page: Element) -> tuple[float, float] | None:
    try:
        width, height = to_number(page.get("WIDTH", "")), to_number(page.get("HEIGHT", ""))
    except Unusable:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _region(line: Element) -> Region:
    return Region(_points(line), _text(line))


def _points(line: Element) -> Points:
    """Return a line's polygon where it has one of at least three corners, else its box."""
    for shape in children(line, "Shape"):
        for polygon in children(shape, "Polygon"):
            numbers = [to_number(number) for number in polygon.get("POINTS", "").replace(",", " ").split()]
            if len(numbers) >= 6:
                return to_points(numbers)
    left, top, width, height = (to_number(line.get(key, "")) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    return rectangle(left, top, width, height)


def _text(line: Element) -> str:
    """Return a line's strings with the spaces between them; a hyphen at its end is part of it."""
    tells_spaces = bool(children(line, "SP"))
    text, before = "", None
    for part in line:
        name = local_name(part)
        if name == "String":
            if before is not None and not tells_spaces and not text.endswith(" ") and not _joined(before, part):
                text += " "
            text, before = text + part.get("CONTENT", ""), part
        elif name == "SP":
            text += " "
        elif name == "HYP":
            text += part.get("CONTENT", "-")
    return text


def _joined(before: Element, after: Element) -> bool:
    """Say whether a sign such as a comma, which some archives take for a string of its own, touches its neighbour."""
    if all(any(map(str.isalnum, part.get("CONTENT", ""))) for part in (before, after)):
        return False
    try:
        end = to_number(before.get("HPOS", "")) + to_number(before.get("WIDTH", ""))
        return to_number(after.get("HPOS", "")) <= end
    except Unusable:
        return False
