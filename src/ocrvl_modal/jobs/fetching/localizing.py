"""Rows that name their images elsewhere become rows that name files beside them; those without an image are told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.data.references import references_in, with_references
from ocrvl_modal.errors import data_error
from ocrvl_modal.jobs.fetching.addresses import Unreachable, address_of
from ocrvl_modal.jobs.fetching.images import Gathered, Get, ImageFolder
from ocrvl_modal.jobs.fetching.web import NotHad

MISSING = "missing.jsonl"
"""Beside the rows: a line for each image that could not be had, with the row that it is missing in."""

_EXAMPLES = 5


@dataclass(frozen=True)
class RowsFile:
    """A file of rows as it arrived, and its name in its dataset.

    ``base`` is the address that it came from, where images have one too; without one they lie beside it.
    """

    path: Path
    name: str
    base: str | None = None


@dataclass(frozen=True)
class Missing:
    """An image that could not be had."""

    file: str
    line: int
    image: str
    reason: str
    detail: str


@dataclass(frozen=True)
class ImagesReport:
    """How many rows a dataset had and which were left out, and what became of the images that they name.

    ``images`` are here, ``fetched`` of them since this time; ``missing`` has each row that lacks one.
    """

    rows: int
    left_out: int
    images: int
    fetched: int
    missing: tuple[Missing, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output, with the first of what is missing."""
        return {
            "rows": self.rows,
            "left_out": self.left_out,
            "images": self.images,
            "fetched": self.fetched,
            "missing": len(self.missing),
            "reasons": dict(Counter(missing.reason for missing in self.missing).most_common()),
            "examples": [asdict(missing) for missing in self.missing[:_EXAMPLES]],
        }


@dataclass(frozen=True)
class Beside:
    """An image that is here already, and what it is called from where the rows are written."""

    reference: str


Place = str | NotHad | Beside | None
"""The address of an image, why it has none, its new name, or ``None`` where its name stays as it is."""

PlaceOf = Callable[[RowsFile, str], Place]
"""Tells the place of an image that a row of a file names."""


def localize(
    arrived: list[RowsFile],
    folder: Path,
    images: ImageFolder,
    get: Get,
    place_of: PlaceOf | None = None,
    advice: str = "look at that address; --no-images takes the rows without their images",
) -> ImagesReport:
    """Fetch the images that rows name, and write the rows anew beside them in ``folder``.

    A row whose image cannot be had is left out, and listed in ``missing.jsonl``. A line that is no row stays as it is,
    since checking the dataset tells of it. Where ``place_of`` says nothing else, a file's images lie beside it, or have
    addresses from there. Raises a data error, with ``advice``, where no row would be left.
    """
    find = place_of or _place_of
    places = (find(file, image) for file in arrived for _, text in _lines(file.path) for image in references_in(text))
    addresses = list(dict.fromkeys(place for place in places if isinstance(place, str)))
    gathered = images.gather(addresses, get)
    told: list[Missing] = []
    rows = left_out = 0
    for file in arrived:
        with files.new_file(folder / file.name) as beside:
            with beside.open("wb") as stream:
                for number, text in _lines(file.path):
                    line = _Line.of(file, number, text, find, gathered)
                    rows += not line.is_blank
                    left_out += bool(line.missing)
                    told += line.missing
                    if not line.missing:
                        stream.write(f"{line.text}\n".encode("utf-8", "surrogateescape"))
            files.flush(beside)
    report = ImagesReport(rows, left_out, len(gathered.files), gathered.fetched, tuple(told))
    if rows and rows == left_out:
        first = told[0]
        raise data_error(
            f"none of the {rows} rows has its image; line {first.line} of {first.file}: {first.image}: {first.detail}",
            advice,
        )
    if told:
        files.write_text(folder / MISSING, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in told))
    elif MISSING not in {file.name for file in arrived}:
        # Of an earlier try.
        (folder / MISSING).unlink(missing_ok=True)
    return report


@dataclass(frozen=True)
class _Line:
    """A line as it is written anew, and what is missing of it."""

    text: str
    missing: tuple[Missing, ...]

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()

    @classmethod
    def of(
        cls,
        file: RowsFile,
        number: int,
        text: str,
        find: PlaceOf,
        gathered: Gathered,
    ) -> _Line:
        to_the_top = "../" * file.name.count("/") or "./"
        new: dict[str, str] = {}
        missing: list[Missing] = []
        for image in references_in(text):
            place = find(file, image)
            why = gathered.missing.get(place) if isinstance(place, str) else place
            if isinstance(place, Beside):
                new[image] = place.reference
            elif isinstance(why, NotHad):
                shown = image.encode("utf-8", "replace").decode()
                missing.append(Missing(file.name, number, shown, why.kind, why.reason))
            elif isinstance(place, str):
                new[image] = f"{to_the_top}{gathered.files[place]}"
        return cls(with_references(text, new), tuple(missing))


def _place_of(file: RowsFile, image: str) -> str | NotHad | None:
    """Return the address of an image, why it has none, or ``None`` where it lies beside the rows already."""
    if image.startswith("data:"):
        return None
    try:
        image.encode()
        if file.base is None and "://" not in image:
            return _beside(file.path.parent, image)
        return address_of(image, file.base or "")
    except (Unreachable, ValueError) as error:
        return NotHad("bad_address", str(error))


def _beside(folder: Path, image: str) -> NotHad | None:
    path = (folder / image).resolve()
    if not path.is_relative_to(folder.resolve()):
        return NotHad("bad_address", "it leaves the folder of its dataset")
    return None if path.is_file() else NotHad("not_found", "there is no such file in the dataset")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a file, each without its end; bytes that are no text stay what they are."""
    with path.open("r", encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            yield number, line.rstrip("\r\n")
