"""Parquet files with a column of images and one of texts, as the hub of datasets keeps them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ocrvl_modal.data.converting.columns import Columns, markup_of
from ocrvl_modal.data.converting.items import Dropped, Items, Markup, Page, Picture, Unusable
from ocrvl_modal.data.converting.reading import find_image
from ocrvl_modal.data.sources import is_url
from ocrvl_modal.errors import OcrvlError, data_error, usage_error

INSTALL = "pip install 'ocrvl-modal[data]'"

_ROWS_AT_ONCE = 16


def read(paths: Iterable[Path], roots: Sequence[Path], columns: Columns) -> Items:
    """Yield a page for each row of each file, a few at a time.

    An image is its content, the struct of content and path that the hub's datasets have, a path below one of
    ``roots`` or beside the file, or an address.
    """
    require_pyarrow()
    for path in paths:
        yield from _read_file(path, [*roots, path.parent], columns)


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files in and below a folder, by name."""
    return sorted(path for path in folder.rglob("*.parquet") if path.is_file())


def require_pyarrow() -> None:
    """Raise an error, with what installs it, where pyarrow is not here."""
    if importlib.util.find_spec("pyarrow") is None:
        raise OcrvlError("reading Parquet files needs pyarrow", INSTALL)


def _read_file(path: Path, roots: Sequence[Path], columns: Columns) -> Items:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            image, text = columns.among(table.schema_arrow.names, path.name)
            _require_type(table.schema_arrow.field(text), path)
            number = 0
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(dict.fromkeys((image, text)))):
                for row in batch.to_pylist():
                    number += 1
                    yield _page(row[image], row[text], f"{path.name} row {number}", roots, markup_of(text))
    except pyarrow.ArrowException as error:
        raise data_error(f"{path} is damaged, or no Parquet file: {error}", "fetch or write it again") from error


def _require_type(field: Any, path: Path) -> None:
    from pyarrow import types

    if not (types.is_string(field.type) or types.is_large_string(field.type)):
        raise usage_error(f"column '{field.name}' of {path.name} holds {field.type}, not text", "--text-column NAME")


def _page(image: Any, text: str | None, origin: str, roots: Sequence[Path], markup: Markup) -> Page | Dropped:
    try:
        return Page(origin, _picture(image, origin, roots), text or "", markup)
    except Unusable as unusable:
        return unusable.at(origin)


def _picture(image: Any, origin: str, roots: Sequence[Path]) -> Picture:
    if isinstance(image, dict):
        name, content = image.get("path"), image.get("bytes")
        image = content if isinstance(content, bytes) and content else name
        if isinstance(image, bytes):
            return Picture(name if isinstance(name, str) and name else origin, content=image)
    if isinstance(image, bytes):
        return Picture(origin, content=image)
    if not isinstance(image, str):
        raise Unusable("image_missing", "the row has no image")
    return Picture(image, url=image) if is_url(image) else Picture(image, find_image(image, roots))
