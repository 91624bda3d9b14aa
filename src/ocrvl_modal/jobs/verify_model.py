"""Holding a model in the store against what was verified when it came: every size and every digest, where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.errors import not_found, usage_error
from ocrvl_modal.fetched_models import FetchedFile, FetchedModel, parse_complete, problem_with_folder, read_complete
from ocrvl_modal.jobs.fetching.meter import Meter
from ocrvl_modal.jobs.progress import in_bytes
from ocrvl_modal.model_folders import not_whole
from ocrvl_modal.places import Places


class VerifyModelRequest(BaseModel):
    """Which model to verify, by its place in the models store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    place: str


class VerifyModelResult(BaseModel):
    """What was verified, and what differs, each in words; nothing where the model is as it came."""

    model_config = ConfigDict(frozen=True)

    place: str
    repository: str
    commit: str
    files: int
    size_bytes: int
    problems: tuple[str, ...]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Read every file of a model; raise where nothing tells what it should be."""
    asked = VerifyModelRequest.model_validate(request)
    folder = asked.places.resolve(asked.place)
    fetched = _fetched(asked.place, folder)
    problems = _differences(folder, fetched)
    whole = problem_with_folder(folder)
    if whole and not problems:
        problems = [whole]
    result = VerifyModelResult(
        place=asked.place,
        repository=fetched.repository,
        commit=fetched.commit,
        files=len(fetched.files),
        size_bytes=sum(file.size_bytes for file in fetched.files.values()),
        problems=tuple(problems),
    )
    return result.model_dump(mode="json")


def _fetched(place: str, folder: Path) -> FetchedModel:
    if not folder.is_dir():
        raise not_found(f"there is no model at {place}", "ocrvl model ls")
    complete = read_complete(folder)
    if complete is None and (problem := problem_with_folder(folder)):
        raise not_whole(place, problem, complete)
    if complete is None:
        raise usage_error(
            f"{place} did not come from a hub: nothing tells what its files should be", f"ocrvl model show {place}"
        )
    fetched = parse_complete(complete)
    if fetched is None:
        raise not_whole(place, str(problem_with_folder(folder)), complete)
    return fetched


def _differences(folder: Path, fetched: FetchedModel) -> list[str]:
    total = sum(file.size_bytes for file in fetched.files.values())
    found = []
    with Meter(in_bytes("verifying"), total) as meter:
        for name, file in sorted(fetched.files.items()):
            if problem := _difference(folder / name, file):
                found.append(f"{name} {problem}")
            meter.tell(name, file.size_bytes)
    return found


def _difference(path: Path, file: FetchedFile) -> str | None:
    if not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != file.size_bytes:
        return f"has {size} bytes of {file.size_bytes}"
    return None if files.sha256_of(path) == file.sha256 else "has other content than it came with"
