"""Text lines and tables as images: ink on paper, in a font that has every character of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from ocrvl_modal.data.otsl.grid import Cell, Grid
from ocrvl_modal.data.synthesis.fonts import Font

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]

_FONT_SIZES = (24, 44)
_TABLE_FONT_SIZES = (20, 28)
_PADDING = 10
_MIN_CELL_WIDTH = 36


@dataclass(frozen=True)
class Page:
    """An image and the colour of its paper."""

    image: Image
    paper: Colour


def draw_line(text: str, font: Font, random: Random) -> Page:
    """Return a line of text with a margin on each side, whatever rises above or hangs below it."""
    from PIL import Image, ImageDraw

    face = font.at(random.randint(*_FONT_SIZES))
    left, top, right, bottom = face.getbbox(text)
    margins = [random.randint(6, 24) for _ in range(4)]
    paper, ink = _colours(random)
    width = round(right - left) + margins[0] + margins[1]
    height = round(bottom - top) + margins[2] + margins[3]
    image = Image.new("RGB", (max(1, width), max(1, height)), paper)
    ImageDraw.Draw(image).text((margins[0] - left, margins[2] - top), text, font=face, fill=ink)
    return Page(image, paper)


def draw_table(grid: Grid, fonts: Mapping[Cell, Font], random: Random) -> Page:
    """Return a table with rules around its cells, each cell's text in its own font."""
    from PIL import Image, ImageDraw

    size = random.randint(*_TABLE_FONT_SIZES)
    boxes = {cell: fonts[cell].at(size).getbbox(cell.text) for cell in grid.cells if cell.text}
    columns = _sizes(
        grid.width, _MIN_CELL_WIDTH, [(cell.column, cell.width, box[2] - box[0]) for cell, box in boxes.items()]
    )
    rows = _sizes(grid.height, size * 2, [(cell.row, cell.height, box[3] - box[1]) for cell, box in boxes.items()])
    across, down = _edges(columns), _edges(rows)
    paper, ink = _colours(random)
    margin = random.randint(12, 40)
    image = Image.new("RGB", (across[-1] + 2 * margin, down[-1] + 2 * margin), paper)
    draw = ImageDraw.Draw(image)
    for cell in grid.cells:
        left, top = margin + across[cell.column], margin + down[cell.row]
        right, bottom = margin + across[cell.column + cell.width], margin + down[cell.row + cell.height]
        draw.rectangle((left, top, right, bottom), outline=ink)
        if cell.text:
            box = boxes[cell]
            middle = (top + bottom - (box[3] - box[1])) / 2
            draw.text((left + _PADDING - box[0], middle - box[1]), cell.text, font=fonts[cell].at(size), fill=ink)
    return Page(image, paper)


def _sizes(count: int, least: int, wanted: list[tuple[int, int, float]]) -> list[int]:
    """Return how wide columns, or how high rows, must be for their contents: each at a place, over some, of a size."""
    sizes = [least] * count
    for place, span, size in sorted(wanted, key=lambda item: item[1]):
        lacking = round(size) + 2 * _PADDING - sum(sizes[place : place + span])
        if lacking > 0:
            sizes[place + span - 1] += lacking
    return sizes


def _edges(sizes: list[int]) -> list[int]:
    edges = [0]
    for size in sizes:
        edges.append(edges[-1] + size)
    return edges


def _colours(random: Random) -> tuple[Colour, Colour]:
    """Return the colour of the paper, somewhat yellow, and that of the ink."""
    light = random.randint(228, 255)
    dark = random.randint(0, 70)
    paper = (light, light - random.randint(0, 6), light - random.randint(0, 22))
    return paper, (dark, dark, dark + random.randint(0, 20))
