"""The tokens of OTSL, and a string cut into them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

FILLED = "<fcel>"
EMPTY = "<ecel>"
LEFT = "<lcel>"
UP = "<ucel>"
CROSS = "<xcel>"
NEW_ROW = "<nl>"

ANCHORS = (FILLED, EMPTY)
"""The tokens that begin a cell; any other position belongs to a cell that began before."""

_TOKEN = re.compile("|".join((FILLED, EMPTY, LEFT, UP, CROSS, NEW_ROW)))
# What was meant as a token: another spelling, those of other dialects, and the tags of HTML tables.
_LOOKS_LIKE_ONE = re.compile(
    r"</?\s*(?:[a-z]cel|nl|ched|rhed|srow|otsl|table|thead|tbody|tfoot|tr|td|th|caption)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Token:
    """One token, where it stands in the string, and the text up to the next one."""

    name: str
    offset: int
    text: str


def tokenize(otsl: str) -> tuple[str, list[Token]]:
    """Return the text before the first token, and the tokens."""
    matches = list(_TOKEN.finditer(otsl))
    if not matches:
        return otsl, []
    ends = [match.start() for match in matches[1:]] + [len(otsl)]
    tokens = [Token(match[0], match.start(), otsl[match.end() : end]) for match, end in zip(matches, ends, strict=True)]
    return otsl[: matches[0].start()], tokens


def rows_of(tokens: list[Token]) -> list[list[Token]]:
    """Return the tokens row by row, each row with its ``<nl>`` where it has one."""
    rows: list[list[Token]] = [[]]
    for token in tokens:
        rows[-1].append(token)
        if token.name == NEW_ROW:
            rows.append([])
    return rows if rows[-1] else rows[:-1]


def lookalikes(text: str) -> Iterator[str]:
    """Yield what in a cell's text would be read as a token, or was meant as one."""
    yield from (match[0] for match in _LOOKS_LIKE_ONE.finditer(text))
