"""The rows of a dataset file as they stand, each with the sample that it says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

from ocrvl_modal.data.references import renamed
from ocrvl_modal.data.rows import check_command, lines_of, require_file, scan
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.errors import OcrvlError, data_error

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_BYTE_ORDER_MARK = "\ufeff"
_REMEMBERED_FOLDERS = 1 << 16


@dataclass(frozen=True)
class RowInFile:
    """One good row: its ``text`` without white space around it, its ``sample``, and the byte at which its line begins.

    ``name`` is the image as grouping sees it: relative to the file's folder where it lies below that, with ``/``, and
    the same however the row spells it.
    """

    sample: Sample
    text: str
    name: str
    offset: int


def read_rows(path: Path, on_refused: Callable[[str], None] | None = None) -> Iterator[RowInFile]:
    """Yield the rows of a file, one in memory at a time.

    What is no sample is told to ``on_refused``; without it, raises a data error at the first: a dataset is shaped
    after it was checked.
    """
    require_file(path)
    # Compared as text: a path's parts are dear, a million times over.
    folder = os.path.join(path.absolute().parent, "")  # noqa: PTH118 - ends in a separator
    with path.open("rb") as stream:
        lines = _numbered(stream)
        for item in scan(path):
            if isinstance(item, Sample):
                raw, offset = next((raw, offset) for number, offset, raw in lines if number == item.line)
                yield RowInFile(item, text_of(raw), _name(item.image, folder), offset)
            elif on_refused:
                on_refused(str(item))
            else:
                raise data_error(f"{path}: {item}", check_command(path))


def text_of(raw: bytes) -> str:
    """Return a row's line as text, without its end."""
    return raw.decode("utf-8").removeprefix(_BYTE_ORDER_MARK).strip()


def lines_of_rows(path: Path) -> Iterator[str]:
    """Yield the rows of a file that was read before as text, without reading again what they say."""
    return (line.decode("utf-8") for _, line in lines_of(path) if line)


def changed_meanwhile(path: Path) -> OcrvlError:
    """Return the error of a file that is not at its second reading what it was at its first."""
    return data_error(f"{path} was changed while it was read", "run it again when nothing writes to it")


def count_lines(path: Path) -> int:
    """Return about how many rows a file has, at the speed of the disk: for progress only."""
    count, end = 0, b"\n"
    with path.open("rb") as stream:
        for chunk in iter(partial(stream.read, 1 << 20), b""):
            count, end = count + chunk.count(b"\n"), chunk[-1:]
    return count + (end != b"\n")


def relocated(text: str, source: Path, target: Path) -> str:
    """Return a row of a file in the folder ``source`` as it must stand in a file in the folder ``target``.

    Relative images are named relative to ``target`` where the two have more in common than the root; absolute ones
    and URLs stay as they are. A row that needs no change keeps its bytes.
    """
    if source == target:
        return text
    there, here = str(target), str(source)
    return renamed(text, lambda name: _seen_from(there, here, name))


def _numbered(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    for number, raw in enumerate(stream, start=1):
        yield number, offset, raw
        offset += len(raw)


def _name(image: Path, folder: str) -> str:
    name = os.path.normpath(image) if ".." in image.parts else str(image)
    return (name[len(folder) :] if name.startswith(folder) else name).replace(os.path.sep, "/")


def _seen_from(target: str, source: str, name: str) -> str:
    if _ADDRESS.match(name) or name.startswith("/"):
        return name
    folder, _, file = name.rpartition("/")
    return f"{_folder_seen_from(target, source, folder)}/{file}"


@lru_cache(_REMEMBERED_FOLDERS)
def _folder_seen_from(target: str, source: str, folder: str) -> str:
    there = os.path.normpath(f"{source}/{folder}")
    if os.path.commonpath([there, target]) == os.path.sep:
        return "" if there == os.path.sep else there
    relative = Path(os.path.relpath(there, target)).as_posix()
    if relative == ".":
        return relative
    return relative if relative.startswith("..") else f"./{relative}"
