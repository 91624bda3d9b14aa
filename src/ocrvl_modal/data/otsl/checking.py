"""Where a string breaks the grammar of OTSL, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ocrvl_modal.data.otsl.tokens import (
    ANCHORS,
    CROSS,
    EMPTY,
    FILLED,
    LEFT,
    NEW_ROW,
    UP,
    Token,
    lookalikes,
    rows_of,
    tokenize,
)

_SHOWN = 20
_Position = tuple[int, int]


@dataclass(frozen=True)
class OtslFinding:
    """One place where a string breaks the grammar.

    ``kind`` is a stable word. ``row`` and ``column`` are the position in the table, and ``token`` is the number of the
    token, all counted from 1; ``offset`` is the index in the string.
    """

    kind: str
    message: str
    row: int
    column: int
    token: int
    offset: int

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column} (token {self.token}): {self.message}"


def check_otsl(otsl: str) -> list[OtslFinding]:
    """Return where a string breaks the grammar, in its order; nothing where it is right.

    Kinds: ``no_table``, ``text_outside``, ``unknown_token``, ``filled_without_text``, ``empty_row``, ``missing_nl``,
    ``ragged``, ``lcel``, ``ucel``, ``xcel`` (a continuation of nothing) and ``block`` (a merged cell with a hole). A
    fault counts once: what only follows from it is not told.
    """
    before, tokens = tokenize(otsl)
    if not tokens:
        return [OtslFinding("no_table", "there is no table: the text has no OTSL token", 1, 1, 1, 0)]
    table = _Table(tokens)
    findings = [*_outside(before), *table.texts(), *table.shape(), *table.blocks()]
    return sorted(findings, key=lambda finding: finding.offset)


def _outside(before: str) -> Iterator[OtslFinding]:
    if before.strip():
        yield OtslFinding("text_outside", f"{_shown(before)} stands before the first token", 1, 1, 1, 0)


class _Table:
    """The rows of a table, and what each finding says of its place."""

    def __init__(self, tokens: list[Token]) -> None:
        self._numbers = {token.offset: number for number, token in enumerate(tokens, start=1)}
        self._whole_rows = rows_of(tokens)
        self._rows = [[token for token in row if token.name != NEW_ROW] for row in self._whole_rows]

    def texts(self) -> Iterator[OtslFinding]:
        """Yield what is wrong with the texts between the tokens."""
        for row, tokens in enumerate(self._whole_rows):
            for column, token in enumerate(tokens):
                text = token.text.strip()
                for word in lookalikes(text):
                    yield self._at(row, column, token, "unknown_token", f"{word} is no token of OTSL")
                if token.name == FILLED and not text:
                    message = f"{FILLED} has no text; an empty cell is {EMPTY}"
                    yield self._at(row, column, token, "filled_without_text", message)
                elif token.name != FILLED and text:
                    message = f"{_shown(text)} follows {token.name}; only {FILLED} has text"
                    yield self._at(row, column, token, "text_outside", message)

    def shape(self) -> Iterator[OtslFinding]:
        """Yield rows that do not end, that are empty, or that are not as wide as the others."""
        widths = Counter(len(row) for row in self._rows if row)
        usual = widths.most_common(1)[0][0] if widths else 0
        for row, tokens in enumerate(self._whole_rows):
            width = len(self._rows[row])
            last = tokens[-1]
            if not width:
                yield self._at(row, 0, last, "empty_row", "the row has no token but <nl>")
            elif width != usual:
                message = f"the row has {width} tokens, and the others have {usual}"
                yield self._at(row, width - 1, self._rows[row][-1], "ragged", message)
            if last.name != NEW_ROW:
                yield self._at(row, width - 1, last, "missing_nl", f"the row does not end with {NEW_ROW}")

    def blocks(self) -> Iterator[OtslFinding]:
        """Yield continuations of nothing, and merged cells that are no whole rectangles."""
        owners: dict[_Position, _Position | None] = {}
        for row, tokens in enumerate(self._rows):
            for column, token in enumerate(tokens):
                if token.name in ANCHORS:
                    owners[row, column] = (row, column)
                    continue
                left, above = owners.get((row, column - 1), _NOTHING), owners.get((row - 1, column), _NOTHING)
                owner, message = _owner_of(token.name, (row, column), left, above, self._rows)
                owners[row, column] = owner
                if message:
                    yield self._at(row, column, token, token.name.strip("<>"), message)
        yield from self._holes(owners)

    def _holes(self, owners: dict[_Position, _Position | None]) -> Iterator[OtslFinding]:
        ends: dict[_Position, _Position] = {}
        for (row, column), owner in owners.items():
            if owner is not None:
                bottom, right = ends.get(owner, owner)
                ends[owner] = (max(bottom, row), max(right, column))
        for (top, left), (bottom, right) in ends.items():
            inside = ((row, column) for row in range(top + 1, bottom + 1) for column in range(left + 1, right + 1))
            hole = next((at for at in inside if owners.get(at, (top, left)) != (top, left)), None)
            if hole is None or owners[hole] is None:
                continue
            token = self._rows[hole[0]][hole[1]]
            message = (
                f"the cell that begins in row {top + 1}, column {left + 1} takes {bottom - top + 1} rows"
                f" and {right - left + 1} columns: here must be {CROSS}, not {token.name}"
            )
            yield self._at(*hole, token, "block", message)

    def _at(self, row: int, column: int, token: Token, kind: str, message: str) -> OtslFinding:
        return OtslFinding(kind, message, row + 1, column + 1, self._numbers[token.offset], token.offset)


_NOTHING: _Position = (-1, -1)
"""The owner of a position outside the table."""


def _owner_of(
    name: str, at: _Position, left: _Position | None, above: _Position | None, rows: list[list[Token]]
) -> tuple[_Position | None, str]:
    """Return the corner of the cell that a continuation belongs to, and what is wrong where it belongs to none.

    ``left`` and ``above`` are the owners of its neighbours: ``None`` where those are wrong themselves, so that nothing
    can be said of this one.
    """
    row, column = at
    if name == LEFT:
        if left is None:
            return None, ""
        if left == _NOTHING:
            return None, f"{LEFT} is in the first column: there is no cell to its left"
        return (left, "") if left[0] == row else (None, f"{LEFT} continues {rows[row][column - 1].name}, not a top row")
    if name == UP:
        if above is None:
            return None, ""
        if above == _NOTHING:
            return None, f"{UP} has no cell above it"
        if above[1] == column:
            return above, ""
        return None, f"{UP} continues {rows[row - 1][column].name}, not a left column"
    if left is None or above is None:
        return None, ""
    if left == _NOTHING or above == _NOTHING or left != above:
        return None, f"{CROSS} is inside no block: what is to its left and what is above it are not one cell"
    return left, ""


def _shown(text: str) -> str:
    text = text.strip()
    return f"'{text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'}'"
