"""Which forms of sources there are, how each is told by its looks, and how it is read."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from ocrvl_modal.data.converting import (
    alto,
    coco_text,
    dataset_rows,
    icdar,
    paddle_labels,
    page_xml,
    pairs,
    parquet,
    pubtabnet,
    safe_xml,
    spreadsheets,
)
from ocrvl_modal.data.converting.columns import Columns
from ocrvl_modal.data.converting.dataset_rows import ReadRow
from ocrvl_modal.data.converting.items import Dropped, Items, Page
from ocrvl_modal.data.converting.reading import files_below
from ocrvl_modal.errors import did_you_mean, not_found, usage_error

_LOOKED_AT = 200
"""How many files of a folder are looked at to tell its form."""

_TABLES = (".csv", ".tsv", ".json", ".jsonl")
"""Endings of files of which a folder that is a source has one."""

_SHOWN = 5


@dataclass(frozen=True)
class Source:
    """What is read: a file or a folder, where its images lie besides, and the columns of a table.

    ``files`` are those of a source that was fetched, in place of what lies at ``path``.
    """

    path: Path
    columns: Columns
    roots: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()


SourceItems = Iterator[Page | ReadRow | Dropped]


@dataclass(frozen=True)
class Format:
    """One form of sources: what it is in words, whether a path looks like it, and how it is read."""

    title: str
    looks_like_it: Callable[[Path], bool]
    read: Callable[[Source], SourceItems]


def known_format(name: str) -> str:
    """Return the name of a format; raise a usage error with the nearest for an unknown one."""
    if name not in FORMATS:
        raise usage_error(f"there is no source format '{name}'", did_you_mean(name, FORMATS))
    return name


def detect(path: Path, known: str | None = None) -> str:
    """Return the format that a path looks like, or the ``known`` one; raise a usage error where it is none, or several.

    Raises *not found* where nothing is there, and a usage error for a pipe or a device.
    """
    if not path.exists():
        raise not_found(f"there is no {path}", "name a file, a folder, or hf://owner/name")
    if not (path.is_file() or path.is_dir()):
        raise usage_error(f"{path} is a pipe or a device; a source is read more than once", "save it as a file")
    if known:
        return known
    found = [name for name, form in FORMATS.items() if form.looks_like_it(path)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise usage_error(f"{path} looks like nothing that can be converted", _advice(path))
    choices = "; ".join(f"{name}: {FORMATS[name].title}" for name in found)
    raise usage_error(f"{path} could be read in {len(found)} ways ({choices})", f"--from {found[0]}")


def _advice(path: Path) -> str:
    """Return what to do about a source that looks like nothing: name one of its tables, or its format."""
    tables = [file for file in sorted(path.iterdir()) if file.suffix.lower() in _TABLES] if path.is_dir() else []
    if tables:
        return f"name one of its files: {', '.join(shlex.quote(str(file)) for file in tables[:_SHOWN])}"
    return f"name it with --from ({'; '.join(f'{name}: {form.title}' for name, form in FORMATS.items())})"


def _only(folder: Path, *endings: str) -> Path | None:
    """Return the one file of an ending that lies directly in a folder."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in endings and path.is_file()]
    return found[0] if len(found) == 1 else None


def _file(path: Path, *endings: str) -> Path | None:
    """Return the file that a source is: itself, or the only one of its kind in the folder."""
    if path.is_dir():
        return _only(path, *endings)
    return path if path.suffix.lower() in endings else None


def _required(source: Source, *endings: str) -> Path:
    path = source.path if source.path.is_file() else _only(source.path, *endings)
    if path is None:
        raise usage_error(f"{source.path} has not exactly one file {' or '.join(endings)}", "name the file itself")
    return path


def _xml_files(path: Path, root: str) -> Iterator[Path]:
    """Yield the XML files of a format in and below a folder; others, such as a METS file, are of another kind."""
    found = files_below(path) if path.is_dir() else iter([path])
    return (file for file in found if file.suffix.lower() == ".xml" and safe_xml.root_name(file) == root)


def _has_xml(path: Path, root: str) -> bool:
    found = files_below(path) if path.is_dir() else iter([path])
    some = islice((file for file in found if file.suffix.lower() == ".xml"), _LOOKED_AT)
    return any(safe_xml.root_name(file) == root for file in some)


def _is_pairs(path: Path) -> bool:
    if path.is_file():
        return pairs.is_text(path) and pairs.image_beside(path) != path
    return pairs.has_pair(path)


def _is_icdar(path: Path) -> bool:
    texts = (file for file in files_below(path) if file.suffix.lower() == ".txt") if path.is_dir() else iter(())
    return any(icdar.is_words_file(file) for file in islice(texts, _LOOKED_AT))


def _is_coco(path: Path) -> bool:
    file = _file(path, ".json")
    return file is not None and coco_text.is_coco(file)


def _table_labels(source: Source) -> Path:
    file = source.path if source.path.is_file() else pubtabnet.label_file(source.path)
    if file is None:
        raise usage_error(f"{source.path} has not exactly one file of table labels", "name the file itself")
    return file


def _is_rows(path: Path) -> bool:
    file = _file(path, ".jsonl")
    return file is not None and dataset_rows.is_rows_file(file)


def _is_parquet(path: Path) -> bool:
    return bool(parquet.parquet_files(path)) if path.is_dir() else path.suffix.lower() == ".parquet"


def _read_parquet(source: Source) -> SourceItems:
    files = source.files or (parquet.parquet_files(source.path) if source.path.is_dir() else [source.path])
    return parquet.read(files, source.roots, source.columns)


_ReadXml = Callable[[Iterator[Path], Sequence[Path]], Items]


def _read_xml(read: _ReadXml, root: str) -> Callable[[Source], Items]:
    return lambda source: read(_xml_files(source.path, root), source.roots)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "paddle": Format(
            "PaddleOCR label files, <image><tab><text> or lines with points",
            lambda path: bool(paddle_labels.label_files(path)),
            lambda source: paddle_labels.read(source.path, source.roots),
        ),
        "pairs": Format(
            "images with .txt, .gt.txt, .md or .html beside them",
            _is_pairs,
            lambda source: pairs.read(source.path, source.roots),
        ),
        "csv": Format(
            "a CSV or TSV file with columns of image and text",
            lambda path: _file(path, ".csv", ".tsv") is not None,
            lambda source: spreadsheets.read(_required(source, ".csv", ".tsv"), source.roots, source.columns),
        ),
        "parquet": Format("Parquet files with columns of image and text", _is_parquet, _read_parquet),
        "coco-text": Format(
            "a COCO-Text file", _is_coco, lambda source: coco_text.read(_required(source, ".json"), source.roots)
        ),
        "pubtabnet": Format(
            "table labels of PubTabNet or PPOCRLabel: images and tokens of HTML",
            lambda path: pubtabnet.label_file(path) is not None,
            lambda source: pubtabnet.read(_table_labels(source), source.roots),
        ),
        "icdar": Format(
            "a folder of ICDAR word files, gt_img_1.txt",
            _is_icdar,
            lambda source: icdar.read(source.path, source.roots),
        ),
        "page": Format("PAGE XML", lambda path: _has_xml(path, page_xml.ROOT), _read_xml(page_xml.read, page_xml.ROOT)),
        "alto": Format("ALTO XML", lambda path: _has_xml(path, alto.ROOT), _read_xml(alto.read, alto.ROOT)),
        "rows": Format(
            "rows of ERNIEKit or PaddleFormers",
            _is_rows,
            lambda source: dataset_rows.read(_required(source, ".jsonl"), source.roots),
        ),
    }
)
"""The formats by name, in the order in which they are told to people."""
