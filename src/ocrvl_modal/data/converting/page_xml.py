"""PAGE XML: the transcriptions of Transkribus, eScriptorium, OCR-D and others.

Format: the PAGE schema of PRImA, 2010 to 2019.
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
    regions_of,
    to_number,
    to_points,
)
from ocrvl_modal.data.converting.reading import find_moved_image
from ocrvl_modal.data.converting.safe_xml import children, descendants, local_name, parse

ROOT = "PcGts"


def read(paths: Iterable[Path], roots: Sequence[Path]) -> Items:
    """Yield a page for each file, its lines in reading order."""
    return pages_of_files(paths, roots, _pages)


def _pages(path: Path, roots: Sequence[Path]) -> Items:
    for page in descendants(parse(path), "Page"):
        name = page.get("imageFilename", "")
        lines = [(f"{path.name} line {line.get('id', '')}", line) for line in _lines_in_order(page)]
        regions, broken = regions_of(lines, _region)
        picture = Picture(name, find_moved_image([name], path, roots))
        yield Page(path.name, picture, regions=regions, broken=broken, frame=_frame(page))


def _frame(page: Element) -> tuple[float, float] | None:
    try:
        width, height = to_number(page.get("imageWidth", "")), to_number(page.get("imageHeight", ""))
    except Unusable:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _lines_in_order(page: Element) -> list[Element]:
    """Return the lines: of the regions that the reading order names first, then of the others as they stand."""
    regions = {region.get("id", ""): region for region in page.iter() if local_name(region).endswith("Region")}
    order = [reference.get("regionRef", "") for group in children(page, "ReadingOrder") for reference in _refs(group)]
    lines: dict[int, Element] = {}
    for region in [*(regions[name] for name in order if name in regions), page]:
        for line in descendants(region, "TextLine"):
            lines.setdefault(id(line), line)
    return list(lines.values())


def _refs(group: Element) -> list[Element]:
    """Return the references of a group and of the groups in it, each group by its indexes where it has them."""
    found: list[Element] = []
    for entry in sorted(group, key=_index):
        found += [entry] if entry.get("regionRef") and not len(entry) else [*_own(entry), *_refs(entry)]
    return found


def _own(entry: Element) -> list[Element]:
    return [entry] if entry.get("regionRef") else []


def _index(entry: Element) -> int:
    index = entry.get("index", "")
    return int(index) if index.isdecimal() and len(index) < 10 else 0


def _region(line: Element) -> Region:
    coordinates = children(line, "Coords")
    if not coordinates:
        raise Unusable("bad_points", "the line has no Coords")
    return Region(_points(coordinates[0]), _text(line))


def _points(coordinates: Element) -> Points:
    """Return a polygon: as one attribute, or, before 2013, as elements."""
    if (text := coordinates.get("points")) is not None:
        numbers = [to_number(number) for pair in text.split() for number in pair.split(",")]
    else:
        corners = children(coordinates, "Point")
        numbers = [to_number(corner.get(axis, "")) for corner in corners for axis in ("x", "y")]
    return to_points(numbers)


def _text(line: Element) -> str:
    """Return a line's text: of several readings the first by index; else that of its words."""
    readings = sorted(children(line, "TextEquiv"), key=_index)
    for reading in readings:
        for unicode in children(reading, "Unicode"):
            if unicode.text and unicode.text.strip():
                return unicode.text
    return " ".join(text for word in children(line, "Word") if (text := _text(word)))
