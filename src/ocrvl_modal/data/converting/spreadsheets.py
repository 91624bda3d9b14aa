"""CSV and TSV files with a column of images and one of texts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ocrvl_modal.data.converting.columns import Columns, markup_of
from ocrvl_modal.data.converting.items import Dropped, Items, Markup, Page, Picture, Unusable
from ocrvl_modal.data.converting.reading import find_image
from ocrvl_modal.data.sources import is_url
from ocrvl_modal.errors import data_error

_LONGEST_FIELD = 1 << 24


def read(path: Path, roots: Sequence[Path], columns: Columns) -> Items:
    """Yield a page for each row; an image is a path below one of ``roots`` or beside the file, or an address.

    Cells are parted by tabs in a .tsv file; in others by what is commonest in the header: commas, semicolons or tabs.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        header = stream.readline(_LONGEST_FIELD)
        stream.seek(0)
        rows = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count))
        try:
            names = next(rows, None)
        except csv.Error as error:
            raise data_error(f"{path} cannot be read as a table: {error}", "save it as CSV in UTF-8") from error
        if names is None:
            raise data_error(f"{path} is empty", "name another source")
        image, text = columns.among(names, path.name)
        at = names.index(image), names.index(text)
        while True:
            origin = f"{path.name} line {rows.line_num + 1}"
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield Dropped(origin, "bad_line", f"it is no row of a table: {error}")
                continue
            if row is None:
                return
            if row:
                yield _page(row, at, origin, [*roots, path.parent], markup_of(text))


def _page(row: list[str], at: tuple[int, int], origin: str, roots: Sequence[Path], markup: Markup) -> Page | Dropped:
    if len(row) <= max(at):
        return Dropped(origin, "bad_line", f"the row has only {len(row)} columns")
    name, text = row[at[0]].strip(), row[at[1]]
    if any("\udc80" <= letter <= "\udcff" for letter in name + text):
        return Dropped(origin, "not_utf8", "the row is not UTF-8 text")
    try:
        picture = Picture(name, url=name) if is_url(name) else Picture(name, find_image(name, roots))
    except Unusable as unusable:
        return unusable.at(origin)
    return Page(origin, picture, text, markup)
