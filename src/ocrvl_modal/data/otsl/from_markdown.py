"""Markdown pipe tables, as GitHub defines them, to OTSL.

The grammar is a page long, and the GPU image has no Markdown library, so it is read here.
"""

from __future__ import annotations

import re

from ocrvl_modal.data.otsl.grid import Cell, Grid
from ocrvl_modal.errors import data_error

_DELIMITER = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_BETWEEN_CELLS = re.compile(r"(?<!\\)\|")
_LINE_BREAK = re.compile(r"\s*<br\s*/?>\s*", re.IGNORECASE)


def markdown_to_otsl(markdown: str) -> str:
    r"""Return the one pipe table in a Markdown text as OTSL.

    Rows that are too short end in empty cells. ``\|`` is a bar and ``<br>`` a newline; other markup is text, since in
    an image of text a star is a star. Raises a data error where there is no table, or more than one, where a row is
    wider than the header, and where a text reads as a token.
    """
    tables = _tables(markdown.splitlines())
    if not tables:
        raise data_error("there is no table in it", "write | a | b |, then | - | - |, then a row a line")
    if len(tables) > 1:
        raise data_error(f"there are {len(tables)} tables in it", "give each table an image of its own")
    rows = [_cells(line) for line in tables[0]]
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) > width:
            raise data_error(
                f"row {number} has {len(row)} cells, and the header has {width}", r"write a bar in a cell as \|"
            )
    padded = [row + [""] * (width - len(row)) for row in rows]
    return Grid.of(
        Cell(text, row, column) for row, texts in enumerate(padded) for column, text in enumerate(texts)
    ).to_otsl()


def _tables(lines: list[str]) -> list[list[str]]:
    """Return the lines of each table, its header and its rows: all up to a line without a bar."""
    tables: list[list[str]] = []
    at = 1
    while at < len(lines):
        header, delimiter = lines[at - 1], lines[at]
        if "|" in header and _DELIMITER.fullmatch(delimiter) and len(_cells(header)) == len(_cells(delimiter)):
            end = at + 1
            while end < len(lines) and "|" in lines[end]:
                end += 1
            tables.append([header, *lines[at + 1 : end]])
            at = end
        at += 1
    return tables


def _cells(line: str) -> list[str]:
    bare = line.strip().removeprefix("|")
    if bare.endswith("|") and not bare.endswith("\\|"):
        bare = bare[:-1]
    return [_LINE_BREAK.sub("\n", cell).replace("\\|", "|").strip() for cell in _BETWEEN_CELLS.split(bare)]
