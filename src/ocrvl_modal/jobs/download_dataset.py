"""Making a dataset of a hub present in the data store, its files as they are there."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.errors import not_found, usage_error
from ocrvl_modal.jobs.hub import Repository, alone_with, fetch
from ocrvl_modal.places import Places

MARKER = ".ocrvl-dataset.json"
"""In a fetched dataset: where it came from, and at which revision."""


class DownloadDatasetRequest(BaseModel):
    """Which repository to fetch, and under which name in the data store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    repository: str
    name: str
    revision: str = "main"
    force: bool = False


class DownloadDatasetResult(BaseModel):
    """Where the dataset is, and its files of rows; ``fetched`` is false when it was there already."""

    model_config = ConfigDict(frozen=True)

    repository: str
    place: str
    rows: tuple[str, ...]
    size_bytes: int
    fetched: bool


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Make the dataset present, whole or not at all; raise a usage error where another thing has its name."""
    asked = DownloadDatasetRequest.model_validate(request)
    place = f"/data/{asked.name}"
    folder = asked.places.data / asked.name
    command = f"ocrvl download dataset {asked.repository} --name {asked.name}"
    repository = Repository("dataset", asked.repository, asked.revision, command)
    with alone_with(folder):
        fetched = asked.force or not _is_here(folder, repository)
        if fetched:
            fetch(repository, folder, partial(_require_rows, repository), partial(_mark, repository))
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jsonl"))
    result = DownloadDatasetResult(
        repository=asked.repository,
        place=place,
        rows=tuple(f"{place}/{file}" for file in found),
        size_bytes=files.size_of_tree(folder),
        fetched=fetched,
    )
    return result.model_dump(mode="json")


def _is_here(folder: Path, repository: Repository) -> bool:
    if files.is_vacant(folder):
        return False
    marker = folder / MARKER
    origin = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
    if (origin.get("repository"), origin.get("revision")) != (repository.name, repository.revision):
        raise usage_error(
            f"/data/{folder.name} holds something else already", f"{repository.command}-2, or --force to replace it"
        )
    return True


def _require_rows(repository: Repository, names: Collection[str]) -> None:
    if not any(name.endswith(".jsonl") for name in names):
        raise not_found(
            f"{repository.name} at '{repository.revision}' holds no .jsonl file: training reads no other form",
            "name a dataset that does, or make the rows yourself and `ocrvl volume put` them",
        )


def _mark(repository: Repository, part: Path, commit: str) -> None:
    origin = {"repository": repository.name, "revision": repository.revision, "commit": commit}
    files.write_json(part / MARKER, origin)
