"""Making a dataset present in the data store: from a hub, a web server or an object store, with its images."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.errors import not_found, usage_error
from ocrvl_modal.jobs.fetching.addresses import WEB_SCHEMES, DatasetSource, parse_source
from ocrvl_modal.jobs.fetching.hub import Repository
from ocrvl_modal.jobs.fetching.images import AT_ONCE, ImageFolder
from ocrvl_modal.jobs.fetching.localizing import MISSING, ImagesReport, RowsFile, localize
from ocrvl_modal.jobs.fetching.meter import Meter
from ocrvl_modal.jobs.fetching.objects import Objects
from ocrvl_modal.jobs.fetching.repository import Arrived, alone_with, fetch, part_folder
from ocrvl_modal.jobs.fetching.web import Web
from ocrvl_modal.jobs.progress import in_bytes
from ocrvl_modal.places import Places
from ocrvl_modal.transfer import Source, fetch_file
from ocrvl_modal.transfer.source import without_secrets

MARKER = ".ocrvl-dataset.json"
"""In a fetched dataset: where it came from, at which revision, and how many of its images are missing."""

_NOT_WANTED = (".git*",)


class DownloadDatasetRequest(BaseModel):
    """What to fetch, and under which name in the data store; ``images`` says whether those that rows name come too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    source: str
    name: str
    revision: str = "main"
    images: bool = True
    force: bool = False

    @property
    def shown_source(self) -> str:
        """The source as it may be shown and kept."""
        return without_secrets(self.source) if "://" in self.source else self.source

    @property
    def command(self) -> str:
        """The command that goes on after a break."""
        options = f" --revision {shlex.quote(self.revision)}" if self.revision != "main" else ""
        options += "" if self.images else " --no-images"
        return f"ocrvl download dataset {shlex.quote(self.shown_source)} --name {self.name}{options}"


class DownloadDatasetResult(BaseModel):
    """Where the dataset is, and its files of rows; ``fetched`` is false when it was there already.

    ``images`` says what became of the images that rows name, where they were looked at this time.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    place: str
    rows: tuple[str, ...]
    size_bytes: int
    fetched: bool
    images: dict[str, Any] | None


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Make the dataset present, whole or not at all; raise a usage error where another thing has its name.

    One that is here with images missing is gone through again, and only those are asked for.
    """
    asked = DownloadDatasetRequest.model_validate(request)
    source = parse_source(asked.source)
    folder = asked.places.data / asked.name
    report = None
    with alone_with(folder):
        fetched = asked.force or not _is_here(folder, asked)
        if fetched:
            report = _Bringing(asked, folder).bring(source)
    result = DownloadDatasetResult(
        source=asked.shown_source,
        place=f"/data/{asked.name}",
        rows=tuple(f"/data/{asked.name}/{file}" for file in _rows_in(folder)),
        size_bytes=files.size_of_tree(folder),
        fetched=fetched,
        images=report.to_dict() if report else None,
    )
    return result.model_dump(mode="json")


def _is_here(folder: Path, asked: DownloadDatasetRequest) -> bool:
    if files.is_vacant(folder):
        return False
    origin = _origin_of(folder)
    same = ("source", asked.shown_source), ("revision", asked.revision), ("images", asked.images)
    if any(origin.get(key) != value for key, value in same):
        raise usage_error(
            f"/data/{folder.name} holds something else already",
            f"another --name, such as --name {asked.name}-2; or --force to replace it",
        )
    return not origin.get("missing")


def _origin_of(folder: Path) -> dict[str, Any]:
    """Return what the marker of a dataset says; nothing where it is damaged, or there is none."""
    try:
        origin = json.loads((folder / MARKER).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _rows_in(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*.jsonl"))
    return sorted(path.as_posix() for path in found if not path.name.startswith(".") and path != Path(MISSING))


class _Bringing:
    """One download into ``folder``: rows and images arrive beside it, in folders that survive a break."""

    def __init__(self, asked: DownloadDatasetRequest, folder: Path) -> None:
        self._asked = asked
        self._folder = folder
        digest = hashlib.sha256(f"{asked.shown_source} {asked.revision}".encode()).hexdigest()
        self._part = part_folder(folder, digest)
        self._images = ImageFolder(part_folder(folder, f"images-{digest}"))
        self._web = Web(AT_ONCE)
        self._objects: Objects | None = None
        self._report: ImagesReport | None = None

    def bring(self, source: DatasetSource) -> ImagesReport | None:
        """Bring rows and images, and give the dataset its name; return what became of the images."""
        if not self._asked.force and self._folder.is_dir():
            self._images.take_over(self._folder)
        by_kind: dict[str, Callable[[DatasetSource], None]] = {
            "hub": self._from_hub,
            "web": self._from_web,
            "objects": self._from_objects,
        }
        by_kind[source.kind](source)
        return self._report

    def _from_hub(self, source: DatasetSource) -> None:
        asked = self._asked
        repository = Repository("dataset", source.repository, asked.revision, asked.command, _NOT_WANTED)

        def finish(arrived: Arrived) -> None:
            rows = [RowsFile(arrived.folder / name, name) for name in arrived.files if name.endswith(".jsonl")]
            self._finish(arrived.folder, rows, arrived.commit)

        fetch(repository, self._folder, partial(_require_rows, repository), finish)

    def _from_web(self, source: DatasetSource) -> None:
        rows = []
        for name, address in (source.files or {}).items():
            again = Source(address, again=self._asked.command)
            with Meter(in_bytes(f"fetching {name}"), 0) as meter:
                fetch_file(again, self._part / name, on_bytes=meter.tell_all)
            rows.append(RowsFile(self._part / name, name, address))
        self._finish(self._part, rows)
        self._give_its_name()

    def _from_objects(self, source: DatasetSource) -> None:
        objects = self._object_stores()
        folder = source.address.rpartition("/")[0] if source.address.endswith(".jsonl") else source.address.rstrip("/")
        rows = []
        for address in objects.rows_at(source.address):
            name = address.removeprefix(f"{folder}/")
            (self._part / name).parent.mkdir(parents=True, exist_ok=True)
            objects.fetch(address, self._part / name)
            rows.append(RowsFile(self._part / name, name, f"{folder}/{name}"))
        self._finish(self._part, rows)
        self._give_its_name()

    def _finish(self, arrived: Path, rows: list[RowsFile], commit: str | None = None) -> None:
        """Bring the images, and say last where all this came from."""
        asked = self._asked
        if asked.images:
            self._report = localize(rows, arrived, self._images, self._get)
            self._images.move_into(arrived)
        missing = len(self._report.missing) if self._report else 0
        origin = {"source": asked.shown_source, "revision": asked.revision, "images": asked.images, "missing": missing}
        files.write_json(arrived / MARKER, {**origin, "commit": commit} if commit else origin)

    def _give_its_name(self) -> None:
        files.remove_folder(self._folder)
        self._part.replace(self._folder)

    def _get(self, address: str) -> bytes:
        if address.partition("://")[0].lower() in WEB_SCHEMES:
            return self._web.get(address)
        return self._object_stores().get(address)

    def _object_stores(self) -> Objects:
        self._objects = self._objects or Objects()
        return self._objects


def _require_rows(repository: Repository, names: Collection[str]) -> None:
    if not any(name.endswith(".jsonl") for name in names):
        raise not_found(
            f"{repository.name} at '{repository.revision}' holds no .jsonl file: training reads no other form",
            "name a dataset that does, or make the rows yourself and `ocrvl volume put` them",
        )
