"""OTSL to HTML: leniently, since a model writes it, and what a model writes must be drawn and scored."""

from __future__ import annotations

import html

from ocrvl_modal.data.otsl.grid import Cell
from ocrvl_modal.data.otsl.tokens import ANCHORS, CROSS, EMPTY, FILLED, LEFT, NEW_ROW, UP, Token, rows_of, tokenize

_MOST_POSITIONS = 4_000_000
_CONTINUED = (LEFT, UP, CROSS)
_PADDING = Token(EMPTY, -1, "")


def otsl_to_html(otsl: str) -> str:
    """Return an OTSL string as one HTML ``<table>`` of ``<td>``, without white space between its tags.

    Right OTSL gives the same as ``convert_otsl_to_html`` of paddlex 3.7.2. Broken OTSL never raises:

    - Rows that are too short are filled with empty cells at their ends. (paddlex cuts some long rows instead.)
    - ``<fcel>`` without text is an empty cell. (paddlex takes the next token for its text.)
    - A ``<lcel>``, ``<ucel>`` or ``<xcel>`` that continues nothing is an empty cell of its own.
    - A merged cell is the widest whole block at its corner; ``<xcel>`` also in its top row and left column will do, as
      docling writes it. (paddlex lets cells overlap where the block is not whole.)
    - Text before the first token, or after a token other than ``<fcel>``, is left out, and so are rows of no token.
    - Without any token there is no table: the result is the empty string. :func:`check_otsl` says what is wrong.
    """
    rows = _padded([[token for token in row if token.name != NEW_ROW] for row in rows_of(tokenize(otsl)[1])])
    if not rows:
        return ""
    return f"<table>{''.join(f'<tr>{_row_html(cells)}</tr>' for cells in _cells(rows))}</table>"


def _padded(rows: list[list[Token]]) -> list[list[Token]]:
    """Return the rows that have tokens, equally wide; those of a runaway output would be too many, and stay ragged."""
    filled = [row for row in rows if row]
    width = max(map(len, filled), default=0)
    if width * len(filled) > _MOST_POSITIONS:
        return filled
    return [row + [_PADDING] * (width - len(row)) for row in filled]


def _cells(rows: list[list[Token]]) -> list[list[Cell]]:
    """Return the cells of each row, those that begin in it."""
    taken = [bytearray(len(row)) for row in rows]
    cells: list[list[Cell]] = []
    for row, tokens in enumerate(rows):
        begun: list[Cell] = []
        for column, token in enumerate(tokens):
            if taken[row][column]:
                continue
            height, width = _extent(rows, taken, row, column) if token.name in ANCHORS else (1, 1)
            for below in range(row, row + height):
                taken[below][column : column + width] = b"\1" * width
            text = token.text.strip() if token.name == FILLED else ""
            begun.append(Cell(text, row, column, height, width))
        cells.append(begun)
    return cells


def _extent(rows: list[list[Token]], taken: list[bytearray], row: int, column: int) -> tuple[int, int]:
    """Return the height and width of the cell that begins here."""
    end = column + 1
    while end < len(rows[row]) and rows[row][end].name in (LEFT, CROSS) and not taken[row][end]:
        end += 1
    below = row + 1
    while below < len(rows) and _goes_on(rows[below], taken[below], column, end):
        below += 1
    return below - row, end - column


def _goes_on(tokens: list[Token], taken: bytearray, column: int, end: int) -> bool:
    """Say whether a cell of the row above, in these columns, takes this row too."""
    if len(tokens) < end or tokens[column].name not in (UP, CROSS):
        return False
    return all(tokens[at].name in _CONTINUED and not taken[at] for at in range(column, end))


def _row_html(cells: list[Cell]) -> str:
    return "".join(
        "<td"
        + (f' rowspan="{cell.height}"' if cell.height > 1 else "")
        + (f' colspan="{cell.width}"' if cell.width > 1 else "")
        + f">{html.escape(cell.text)}</td>"
        for cell in cells
    )
