"""Making a base model present in the models store: fetched from its repository, or, for the toy, made here."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.errors import not_found
from ocrvl_modal.jobs.hub import Repository, alone_with, fetch
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.models import FAMILY_FILE, FamilyMember, find_member, get_member
from ocrvl_modal.places import Places

_NEEDED = ("config.json", "tokenizer.json", "chat_template.jinja", "preprocessor_config.json")
# The layout detector that shares the 0.9B repository is no part of what is tuned.
_NOT_WANTED = ("PP-DocLayout*", "*.gguf")


class DownloadRequest(BaseModel):
    """Which family member to make present, and which revision of its repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    model: str
    revision: str = "main"
    force: bool = False


class DownloadResult(BaseModel):
    """Where the model is; ``fetched`` is false when it was there already."""

    model_config = ConfigDict(frozen=True)

    model: str
    place: str
    size_bytes: int
    fetched: bool


def model_place(member: FamilyMember) -> str:
    """Return the place of a family member in the models store."""
    return f"/models/{member.name}"


def model_path(places: Places, name: str) -> Path:
    """Return where the model called ``name`` lies, or would lie: a family member, a place in a store, or a folder."""
    member = find_member(name)
    return places.resolve(model_place(member) if member else name)


def model_folder(places: Places, name: str) -> Path:
    """Return the folder of the model called ``name``, which is there; see :func:`model_path`.

    Raises *not found*, with the command that fetches it, where there is no model.
    """
    member = find_member(name)
    folder = model_path(places, name)
    if not (folder / "config.json").is_file():
        if member:
            raise not_found(f"{member.name} is not in the models store", f"ocrvl download model {member.name}")
        raise not_found(f"there is no model in {name}: config.json is missing", "ocrvl volume ls /models")
    return folder


def has_other_revision(marker: bytes, revision: str) -> bool:
    """Say whether ``ocrvl.json`` tells that the model was fetched at another revision.

    One that was made here, or put here by hand, has none, and stands for all.
    """
    try:
        fetched_at = json.loads(marker).get("revision")
    except (ValueError, AttributeError):
        return False
    return fetched_at not in (None, revision)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Make the model present, whole or not at all; what is there already is not fetched again."""
    asked = DownloadRequest.model_validate(request)
    member = get_member(asked.model)
    folder = asked.places.models / member.name
    with alone_with(folder):
        fetched = asked.force or not _is_here(folder, asked.revision)
        if fetched and member.repository is None:
            _make(folder)
        elif fetched:
            _fetch(member, asked.revision, folder)
    result = DownloadResult(
        model=member.name, place=model_place(member), size_bytes=files.size_of_tree(folder), fetched=fetched
    )
    return result.model_dump(mode="json")


def _is_here(folder: Path, revision: str) -> bool:
    marker = folder / FAMILY_FILE
    if not (folder / "config.json").is_file():
        return False
    return not (marker.is_file() and has_other_revision(marker.read_bytes(), revision))


def _make(folder: Path) -> None:
    from ocrvl_modal.engines.tiny import make_tiny_model

    report_progress("making the tiny model", 0, 1)
    make_tiny_model(folder)
    report_progress("making the tiny model", 1, 1)


def _fetch(member: FamilyMember, revision: str, folder: Path) -> None:
    repository = Repository(
        kind="model",
        name=str(member.repository),
        revision=revision,
        command=f"ocrvl download model {member.name}",
        not_wanted=_NOT_WANTED,
    )

    def finish(part: Path, commit: str) -> None:
        marker = {"family": member.name, "repository": repository.name, "revision": revision, "commit": commit}
        files.write_json(part / FAMILY_FILE, marker)

    fetch(repository, folder, partial(_require_needed, repository), finish)


def _require_needed(repository: Repository, names: Collection[str]) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing or not any(name.endswith(".safetensors") for name in names):
        raise not_found(
            f"{repository.name} at '{repository.revision}' lacks {', '.join(missing) or 'its weights'}",
            "name another --revision",
        )
