"""HTML tables to OTSL, by the table model of the HTML standard: spans, implied tags and missing cells as a browser."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser

from ocrvl_modal.data.otsl.grid import Cell, Grid
from ocrvl_modal.errors import OcrvlError, data_error

_MOST_COLUMNS, _MOST_ROWS = 1000, 65534
"""What the HTML standard allows a cell to span."""

_CELLS = ("td", "th")
_GROUPS = ("thead", "tbody", "tfoot")
_BREAKS = frozenset({"br", "p", "div", "li", "ul", "ol", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote"})
_UNSEEN = frozenset({"script", "style", "template", "caption", "noscript"})
# White space in which a line of the source ends and the next one is indented; a bare newline is of the text.
_SOURCE_BREAK = re.compile(r"(?=\n*[ \t\r\f])(?=[ \t\r\f]*\n)[ \t\r\f\n]+")
_SPAN = re.compile(r"\s*\+?(\d{1,9})")


def html_to_otsl(html: str) -> str:
    """Return the one table in an HTML text as OTSL.

    Cells of ``th`` and ``td`` are alike, and so are rows of all groups; markup in a cell leaves its text, entities are
    resolved, a no-break space is a space. A line break in a cell is a newline: ``<br>``, the end of a paragraph, and a
    bare newline, which decoders of OTSL write; one with white space about it is the layout of the source, and a space.
    The caption is left out: OTSL has no place for it.

    Spans are those of a browser: ``rowspan="0"`` reaches to the end of its group, no cell reaches over it, a missing
    cell is empty, and what is no number counts as 1. Where two cells would overlap, the later one is cut. Rows of no
    cell that no cell reaches into are left out.

    Raises a data error where there is no table, more than one, a table in a cell, no cell, or a text that reads as a
    token.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    reader.end_table()
    if not reader.tables:
        raise data_error("there is no <table> in it", "write the table as HTML, Markdown or OTSL")
    if reader.tables > 1:
        raise data_error(f"there are {reader.tables} tables in it", "give each table an image of its own")
    return Grid.of(_placed(reader.rows)).to_otsl()


class _SourceCell:
    """A cell as the source has it: its spans, its row's group, and its text, line by line."""

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width
        self._lines: list[str] = [""]

    def add(self, text: str) -> None:
        self._lines[-1] += text

    def break_line(self) -> None:
        self._lines.append("")

    @property
    def text(self) -> str:
        lines = (_SOURCE_BREAK.sub(" ", line.replace("\xa0", " ")).strip() for line in self._lines)
        return "\n".join(line for line in lines if line)


class _Row:
    """A row of the source, and the number of its group."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.cells: list[_SourceCell] = []


class _Reader(HTMLParser):
    """Reads the rows of a table; a tag that HTML lets one leave out is implied."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables = 0
        self.rows: list[_Row] = []
        self._is_open = False
        self._group = 0
        self._row: _Row | None = None
        self._cell: _SourceCell | None = None
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._start_table()
        elif not self._is_open:
            return
        elif tag in _UNSEEN:
            self._unseen += 1
        elif tag in _GROUPS:
            self._end_row()
            self._group += 1
        elif tag == "tr":
            self._end_row()
            self._start_row()
        elif tag in _CELLS:
            self._start_cell({name: value or "" for name, value in attrs})
        elif tag in _BREAKS and self._cell:
            self._cell.break_line()

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.end_table()
        elif tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in _GROUPS:
            self._end_row()
            self._group += 1
        elif tag == "tr":
            self._end_row()
        elif tag in _CELLS:
            self._cell = None
        elif tag in _BREAKS and self._cell:
            self._cell.break_line()

    def handle_data(self, data: str) -> None:
        if self._cell and not self._unseen:
            self._cell.add(data)

    def end_table(self) -> None:
        """Close what is open: the table ends here, or the text does."""
        self._end_row()
        self._is_open = False

    def _start_table(self) -> None:
        if self._is_open:
            raise _nested(len(self.rows))
        self.tables += 1
        self._is_open = True
        self._unseen = 0

    def _start_row(self) -> _Row:
        self._row = _Row(self._group)
        self.rows.append(self._row)
        return self._row

    def _end_row(self) -> None:
        self._row = self._cell = None

    def _start_cell(self, attributes: dict[str, str]) -> None:
        row = self._row or self._start_row()
        self._unseen = 0
        height = _span(attributes.get("rowspan", ""), _MOST_ROWS, zero=_MOST_ROWS)
        width = _span(attributes.get("colspan", ""), _MOST_COLUMNS, zero=1)
        self._cell = _SourceCell(height, width)
        row.cells.append(self._cell)


def _nested(row: int) -> OcrvlError:
    return data_error(
        f"row {row} has a table in a cell, which OTSL cannot say", "make the inner table part of the grid"
    )


def _span(value: str, most: int, *, zero: int) -> int:
    match = _SPAN.match(value)
    if not match:
        return 1
    return min(int(match[1]) or zero, most)


def _placed(rows: list[_Row]) -> Iterator[Cell]:
    """Yield the cells with their places in the grid, row by row: each goes to the first free column of its row."""
    ends = {row.group: number for number, row in enumerate(rows, start=1)}
    # Of each column: the row at which the cell that reaches down into it ends.
    busy_until: dict[int, int] = defaultdict(int)
    left_out = 0
    for number, row in enumerate(rows):
        if not row.cells and not any(until > number for until in busy_until.values()):
            left_out += 1
            continue
        column = 0
        for source in row.cells:
            while busy_until[column] > number:
                column += 1
            width = 1
            while width < source.width and busy_until[column + width] <= number:
                width += 1
            height = min(source.height, ends[row.group] - number)
            for at in range(column, column + width):
                busy_until[at] = number + height
            yield Cell(source.text, number - left_out, column, height, width)
            column += width
