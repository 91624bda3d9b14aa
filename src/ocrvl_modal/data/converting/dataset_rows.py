"""Rows that are rows already: from ERNIEKit's form to PaddleFormers', and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ocrvl_modal.data.converting.items import Dropped, Picture, Unusable
from ocrvl_modal.data.converting.reading import begins_with, find_image, lines_of
from ocrvl_modal.data.converting.writing import DatasetWriter
from ocrvl_modal.data.forms import parse_row
from ocrvl_modal.data.schema import ImageUse, Row, RowRefused, is_url
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import task_of

OTHER_TASK = "other"
"""Counted for rows whose prompt is none of the family's."""


@dataclass(frozen=True)
class ReadRow:
    """A row of the source, and the folders that its images' paths start from."""

    origin: str
    row: Row
    roots: tuple[Path, ...]


def read(path: Path, roots: Sequence[Path]) -> Iterator[ReadRow | Dropped]:
    """Yield the rows of a file, in either form."""
    for number, line in lines_of(path):
        origin = f"{path.name} line {number}"
        try:
            yield ReadRow(origin, parse_row(line), (*roots, path.parent))
        except RowRefused as refused:
            yield Dropped(origin, refused.kind, refused.message)


def is_rows_file(path: Path) -> bool:
    """Say whether the first line of a file is a row."""
    return begins_with(path, parse_row)


def add(read_row: ReadRow, writer: DatasetWriter) -> None:
    """Write a row with its images; raise :class:`Unusable` where one cannot be had, or the form cannot say the row."""
    row = read_row.row
    images = tuple(replace(use, reference=_kept(use, read_row.roots, writer)) for use in row.images)
    question = next((turn.text for turn in row.turns if turn.role == "user"), "")
    try:
        writer.add_row(replace(row, images=images), task_of(question) or OTHER_TASK)
    except OcrvlError as error:
        raise Unusable("form_cannot_say", error.message) from error


def _kept(use: ImageUse, roots: Sequence[Path], writer: DatasetWriter) -> str:
    reference = use.reference
    if is_url(reference):
        return reference
    return writer.keep(Picture(reference, find_image(reference, roots)))
