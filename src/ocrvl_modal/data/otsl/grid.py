"""A table as a grid of cells, whatever form it came in: the middle between OTSL and the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ocrvl_modal.data.otsl.tokens import CROSS, EMPTY, FILLED, LEFT, NEW_ROW, UP, lookalikes
from ocrvl_modal.errors import data_error

_MOST_POSITIONS = 1_000_000


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the position of its corner, counted from 0, and how many rows and columns it takes."""

    text: str
    row: int
    column: int
    height: int = 1
    width: int = 1


@dataclass(frozen=True)
class Grid:
    """A table of ``height`` rows and ``width`` columns; its cells do not overlap, and a position may have none."""

    height: int
    width: int
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Grid:
        """Return the smallest grid that holds the cells; raise a data error where they are none, or far too many."""
        kept: list[Cell] = []
        height = width = taken = 0
        for cell in cells:
            kept.append(cell)
            height = max(height, cell.row + cell.height)
            width = max(width, cell.column + cell.width)
            taken += cell.height * cell.width
            if max(taken, height * width) > _MOST_POSITIONS:
                raise data_error(
                    f"the table has more than {_MOST_POSITIONS:,} positions, which no model writes",
                    "correct its rowspan and colspan, or cut it into parts",
                )
        if not kept:
            raise data_error("the table has no cell", "remove it, or give it some")
        return cls(height, width, tuple(kept))

    def to_otsl(self) -> str:
        """Return the grid as OTSL; a position without a cell is an empty one.

        Raises a data error where the text of a cell would be read as a token.
        """
        names: list[list[str]] = [[EMPTY] * self.width for _ in range(self.height)]
        for cell in self.cells:
            for position, name in _names_of(cell).items():
                names[position[0]][position[1]] = name
        return "".join("".join(row) + NEW_ROW for row in names)


def _names_of(cell: Cell) -> Mapping[tuple[int, int], str]:
    """Return what stands at each position of a cell: its corner with its text, the rest of its block without."""
    names = {
        (cell.row + down, cell.column + right): CROSS if down and right else UP if down else LEFT
        for down in range(cell.height)
        for right in range(cell.width)
    }
    text = cell.text.strip()
    for word in lookalikes(text):
        raise data_error(
            f"the cell in row {cell.row + 1}, column {cell.column + 1} has the text {word}, which reads as a token",
            "write it in another way",
        )
    names[cell.row, cell.column] = f"{FILLED}{text}" if text else EMPTY
    return names
