"""From what people write to what the models answer: the target of each task, and the tokens of places."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ocrvl_modal.data.converting.items import Markup, Points, Unusable
from ocrvl_modal.data.otsl import check_otsl, html_to_otsl, markdown_to_otsl, otsl_to_html
from ocrvl_modal.errors import OcrvlError

_STEPS = 1000
"""Places are counted in thousandths of the image's width and height."""

_OTSL = re.compile(r"<(?:fcel|ecel|nl)>")
_TABLE = re.compile(r"<table\b", re.IGNORECASE)
_DISPLAYED = re.compile(r"\$\$(.+)\$\$|\$(.+)\$|\\begin\{displaymath\}(.+)\\end\{displaymath\}", re.DOTALL)
_DELIMITED = re.compile(r"\\\[.*\\\]|\\\(.*\\\)", re.DOTALL)


def target_of(text: str, task: str, markup: Markup) -> str:
    """Return the target of a task for a text; raise :class:`Unusable` where the text gives none."""
    text = text.strip()
    if not text:
        raise Unusable("empty_text", "the text is empty")
    try:
        return _TARGETS[task](text, markup)
    except OcrvlError as error:
        raise Unusable(f"bad_{task}", error.message) from error


def spotting_target(lines: list[tuple[str, Points]], width: int, height: int) -> str:
    """Return the target of spotting: each line's text, then its four corners as eight ``<|LOC_n|>``, x and y.

    Raises :class:`Unusable` for a text that has such a mark itself, and for a region without area.
    """
    if any("<|LOC_" in text for text, _ in lines):
        raise Unusable("reserved_text", "a line has <|LOC_, which is a mark of the model's own")
    return "\n".join(f"{_one_line(text)}{_place(points, width, height)}" for text, points in lines)


def quadrilateral(points: Points) -> Points:
    """Return the four corners of a region, from the top left around it.

    Four corners are taken as they are, in the order in which the line is read. A polygon becomes the smallest rectangle
    around it, turned by 45 degrees at most.
    """
    return points if len(points) == 4 else _smallest_rectangle(points)


def _text(text: str, markup: Markup) -> str:
    if markup == "html":
        raise Unusable("needs_task", "it is HTML: --task table reads its table")
    return text


def _table(text: str, markup: Markup) -> str:
    if _OTSL.search(text):
        if findings := check_otsl(text):
            raise Unusable("bad_table", f"the OTSL is wrong: {findings[0]}")
        return text
    if markup == "html" or _TABLE.search(text):
        return html_to_otsl(text)
    return markdown_to_otsl(text)


def _formula(text: str, _markup: Markup) -> str:
    r"""Return LaTeX between ``\[`` and ``\]``, as the models write a formula."""
    if _DELIMITED.fullmatch(text):
        return text
    if displayed := _DISPLAYED.fullmatch(text):
        text = next(group for group in displayed.groups() if group is not None)
    return rf"\[ {text.strip()} \]"


def _chart(text: str, markup: Markup) -> str:
    """Return rows a line, cells joined by bars, from a table or as it is."""
    if markup == "html" or _TABLE.search(text) or _OTSL.search(text) or re.search(r"^\s*\|", text, re.MULTILINE):
        return _as_chart(_table(text, markup))
    return text


def _as_chart(otsl: str) -> str:
    if "span=" in otsl_to_html(otsl):
        raise Unusable("bad_chart", "a chart has no merged cells")
    rows = otsl.removesuffix("<nl>").split("<nl>")
    cells = [[_one_line(cell) for cell in re.split("<[fe]cel>", row)[1:]] for row in rows]
    if any("|" in cell for row in cells for cell in row):
        raise Unusable("bad_chart", "a cell has a bar in it, which stands between the cells of a chart")
    return "\n".join(" | ".join(row) for row in cells)


_TARGETS: Mapping[str, Callable[[str, Markup], str]] = MappingProxyType(
    {"text": _text, "seal": _text, "spotting": _text, "table": _table, "formula": _formula, "chart": _chart}
)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _place(points: Points, width: int, height: int) -> str:
    return "".join(f"<|LOC_{_step(x, width)}|><|LOC_{_step(y, height)}|>" for x, y in quadrilateral(points))


def _step(value: float, size: int) -> int:
    return min(max(round(value / size * _STEPS), 0), _STEPS)


def _smallest_rectangle(points: Points) -> Points:
    hull = _convex_hull(points)
    if len(hull) < 3:
        raise Unusable("bad_points", "the region has no area")
    angles = {math.atan2(y2 - y1, x2 - x1) for (x1, y1), (x2, y2) in zip(hull, (*hull[1:], hull[0]), strict=True)}
    # A quarter turn gives the same rectangle: the one that leans by 45 degrees at most is read from left to right.
    upright = (angle - math.pi / 2 * round(angle / (math.pi / 2)) for angle in sorted(angles))
    return min((_around(hull, angle) for angle in upright), key=_area)


def _around(points: Points, angle: float) -> Points:
    """Return the rectangle around points whose upper side has this angle."""
    cos, sin = math.cos(angle), math.sin(angle)
    along = [x * cos + y * sin for x, y in points]
    across = [y * cos - x * sin for x, y in points]
    left, right, top, bottom = min(along), max(along), min(across), max(across)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return tuple((u * cos - v * sin, u * sin + v * cos) for u, v in corners)


def _area(corners: Points) -> float:
    return math.dist(corners[0], corners[1]) * math.dist(corners[1], corners[2])


def _convex_hull(points: Points) -> Points:
    """Return the corners of the convex hull, in order (Andrew's monotone chain)."""
    ordered = sorted(set(points))
    halves: list[list[tuple[float, float]]] = []
    for walk in (ordered, ordered[::-1]):
        half: list[tuple[float, float]] = []
        for point in walk:
            while len(half) > 1 and not _turns(half[-2], half[-1], point):
                half.pop()
            half.append(point)
        halves.append(half[:-1])
    return tuple(halves[0] + halves[1])


def _turns(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0
