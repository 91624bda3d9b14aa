"""Table labels in the form of PubTabNet: an image's name and its table as tokens of HTML, one JSON object a line.

Format: PubTabNet 2.0, FinTabNet and SynthTabNet, and what PPOCRLabel writes of tables into ``gt.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from ocrvl_modal.data.converting.items import Items, Page, Picture, Unusable
from ocrvl_modal.data.converting.reading import begins_with, find_image, lines_of

_ENDINGS = (".jsonl", ".txt")
_MOST_FILES = 100
# Marks of a cell's letters, and letters that are written as entities already; any other token is letters.
_MARKUP = re.compile(r"</?[A-Za-z][^<>]*>|&(?:[A-Za-z]+|#\d+|#x[0-9A-Fa-f]+);")


class _Tokens(msgspec.Struct):
    tokens: list[str]


class _Table(msgspec.Struct):
    structure: _Tokens
    cells: list[_Tokens]


class _Label(msgspec.Struct):
    filename: str
    html: _Table
    split: str = ""


_decode = msgspec.json.Decoder(_Label).decode


def read(file: Path, roots: Sequence[Path]) -> Items:
    """Yield a page for each line of a label file.

    Images lie below one of ``roots`` or beside the file, there or in the folder that is called as their split.
    """
    for number, line in lines_of(file):
        origin = f"{file.name} line {number}"
        try:
            label = _label(line)
            folders = [folder / part for folder in (*roots, file.parent) for part in _folders_of(label.split)]
            picture = Picture(label.filename, find_image(label.filename, folders))
            yield Page(origin, picture, _html(label.html), "html")
        except Unusable as unusable:
            yield unusable.at(origin)


def label_file(path: Path) -> Path | None:
    """Return the label file that a path stands for: itself, or the only one directly in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    candidates = [file for file in files if file.suffix.lower() in _ENDINGS and file.is_file()]
    # Where a text lies beside each image, none of so many is a label file.
    found = [file for file in candidates if begins_with(file, _label)] if len(candidates) <= _MOST_FILES else []
    return found[0] if len(found) == 1 else None


def _label(line: bytes) -> _Label:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable("bad_line", f"the line is no image with the tokens of a table: {error}") from error


def _folders_of(split: str) -> tuple[str, ...]:
    """Return where a split's images may lie; a split that could lead elsewhere has no folder of its own."""
    return (split, "") if split.isidentifier() else ("",)


def _html(table: _Table) -> str:
    """Return a table with its cells filled in, each behind the tag that opens it."""
    structure = "".join(table.structure.tokens)
    parts = re.split(r"(<t[dh]\b[^>]*>)", structure)
    openings = parts[1::2]
    if len(openings) != len(table.cells):
        raise Unusable("bad_table", f"the table has {len(openings)} cells, and the texts of {len(table.cells)}")
    texts = ["".join(map(_written, cell.tokens)) for cell in table.cells]
    filled = "".join(tag + text + rest for tag, text, rest in zip(openings, texts, parts[2::2], strict=True))
    return f"<table>{parts[0]}{filled}</table>"


def _written(token: str) -> str:
    return token if _MARKUP.fullmatch(token) else escape(token)
