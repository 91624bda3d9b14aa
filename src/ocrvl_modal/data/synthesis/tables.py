"""Small tables of phrases, some of their cells merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ocrvl_modal.data.otsl.grid import Cell, Grid
from ocrvl_modal.data.synthesis.fonts import Font
from ocrvl_modal.data.synthesis.lines import pieces

Phrase = tuple[str, tuple[Font, ...]]

_HEIGHTS, _WIDTHS = (2, 6), (2, 4)
_LONGEST_PHRASE = 18
_EMPTY_CHANCE, _MERGED_CHANCE = 0.1, 0.25


@dataclass(frozen=True)
class DrawnFrom:
    """A table, and the font of each cell: one for all, but for cells with characters that it lacks."""

    grid: Grid
    fonts: Mapping[Cell, Font]


def phrases_of(lines: Sequence[Phrase]) -> list[Phrase]:
    """Return the lines cut into phrases that suit a cell, each with the line's fonts."""
    found: dict[str, tuple[Font, ...]] = {}
    for line, fonts in lines:
        for phrase in pieces(line, _LONGEST_PHRASE):
            # A cell is written between tokens such as <nl>; what looks like one stays out.
            if phrase and "<" not in phrase:
                found.setdefault(phrase, fonts)
    return list(found.items())


def random_table(phrases: Sequence[Phrase], random: Random) -> DrawnFrom:
    """Return a table of random phrases: every position belongs to a cell, some cells to several positions."""
    height, width = random.randint(*_HEIGHTS), random.randint(*_WIDTHS)
    main_font = random.choice(random.choice(phrases)[1])
    taken: set[tuple[int, int]] = set()
    cells: list[Cell] = []
    fonts: dict[Cell, Font] = {}
    for row in range(height):
        for column in range(width):
            if (row, column) in taken:
                continue
            down, across = _extent(row, column, height, width, taken, random)
            taken |= {(row + below, column + right) for below in range(down) for right in range(across)}
            text, able = random.choice(phrases)
            is_empty = cells and random.random() < _EMPTY_CHANCE
            cell = Cell("" if is_empty else text, row, column, down, across)
            cells.append(cell)
            fonts[cell] = main_font if main_font in able else random.choice(able)
    return DrawnFrom(Grid(height, width, tuple(cells)), fonts)


def _extent(
    row: int, column: int, height: int, width: int, taken: set[tuple[int, int]], random: Random
) -> tuple[int, int]:
    if random.random() > _MERGED_CHANCE:
        return 1, 1
    down = random.randint(1, min(2, height - row))
    across = random.randint(1, min(3, width - column))
    free = all((row + below, column + right) not in taken for below in range(down) for right in range(across))
    # Over the whole width or height it would be a title, and no cell.
    return (down, across) if free and across < width and down < height else (1, 1)
