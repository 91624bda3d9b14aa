"""Making a base model present in the models store: fetched from its repository, or, for the toy, made here."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.errors import not_found
from ocrvl_modal.fetched_models import (
    COMPLETE,
    FetchedModel,
    has_other_revision,
    parse_complete,
    problem_with_folder,
    read_complete,
)
from ocrvl_modal.jobs.fetching.hub import Repository, is_repository
from ocrvl_modal.jobs.fetching.repository import Arrived, alone_with, fetch
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.models import FAMILY_FILE, FamilyMember, find_member, get_member
from ocrvl_modal.places import Places

_NEEDED_OF_ANY = ("config.json",)
_NEEDED_OF_FAMILY = (*_NEEDED_OF_ANY, "tokenizer.json", "chat_template.jinja", "preprocessor_config.json")
# The layout detector that shares the 0.9B repository, weights in forms that nothing here reads, the states of trainers
# and pictures of a model card are no part of what is tuned or served.
_NOT_WANTED = (
    *("PP-DocLayout*", "checkpoint-*/*", "onnx/*", "openvino/*", "runs/*", ".git*"),
    *("*.gguf", "*.onnx", "*.onnx_data", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.pdiparams"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.mp4", "*.pdf"),
)


class DownloadRequest(BaseModel):
    """Which model to make present: a family member or a repository of the hub, and which revision of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    model: str
    revision: str = "main"
    force: bool = False


class DownloadResult(BaseModel):
    """Where the model is; ``fetched`` is false when it was there already.

    ``repository``, ``revision`` and ``commit`` are those of a model that came from a hub.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    place: str
    size_bytes: int
    fetched: bool
    repository: str | None = None
    revision: str | None = None
    commit: str | None = None


def folder_name(name: str) -> str:
    """Return the folder in the models store of a family member, or of any repository: ``owner--name``.

    Raises *not found*, with the nearest member, for another word. The hub allows no ``--`` in a name.
    """
    member = find_member(name)
    if member is None and is_repository(name):
        return name.replace("/", "--")
    return (member or get_member(name)).name


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Make the model present, whole or not at all; what is there already is not fetched again."""
    asked = DownloadRequest.model_validate(request)
    folder = asked.places.models / folder_name(asked.model)
    member = find_member(asked.model)
    with alone_with(folder):
        fetched = asked.force or not _is_here(folder, asked.revision)
        if fetched and member is not None and member.repository is None:
            _make(folder)
        elif fetched:
            _fetch(member, _repository(asked, member), folder)
    complete = parse_complete(read_complete(folder))
    result = DownloadResult(
        model=member.name if member else asked.model,
        place=f"/models/{folder.name}",
        size_bytes=files.size_of_tree(folder),
        fetched=fetched,
        repository=complete.repository if complete else None,
        revision=complete.revision if complete else None,
        commit=complete.commit if complete else None,
    )
    return result.model_dump(mode="json")


def _is_here(folder: Path, revision: str) -> bool:
    if not (folder / "config.json").is_file() or problem_with_folder(folder):
        return False
    return not has_other_revision(parse_complete(read_complete(folder)), revision)


def _make(folder: Path) -> None:
    from ocrvl_modal.engines.tiny import make_tiny_model

    report_progress("making the tiny model", 0, 1)
    make_tiny_model(folder)
    report_progress("making the tiny model", 1, 1)


def _repository(asked: DownloadRequest, member: FamilyMember | None) -> Repository:
    revision = f" --revision {shlex.quote(asked.revision)}" if asked.revision != "main" else ""
    return Repository(
        kind="model",
        name=str(member.repository) if member else asked.model,
        revision=asked.revision,
        command=f"ocrvl download model {member.name if member else asked.model}{revision}",
        not_wanted=_NOT_WANTED,
    )


def _fetch(member: FamilyMember | None, repository: Repository, folder: Path) -> None:
    needed = _NEEDED_OF_FAMILY if member else _NEEDED_OF_ANY
    fetch(repository, folder, partial(_require_needed, repository, needed), partial(_mark, repository, member))


def _mark(repository: Repository, member: FamilyMember | None, arrived: Arrived) -> None:
    """Say what the model is, and last of all that it is whole, when all that is said is on the disk."""
    marks = {"repository": repository.name, "revision": repository.revision, "commit": arrived.commit}
    if member and FAMILY_FILE not in arrived.files:
        files.write_json(arrived.folder / FAMILY_FILE, {"family": member.name, **marks})
    for name in arrived.files:
        files.flush(arrived.folder / name)
    complete = FetchedModel(**marks, files=dict(arrived.files))
    files.write_bytes(arrived.folder / COMPLETE, complete.to_json())


def _require_needed(repository: Repository, needed: Collection[str], names: Collection[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing or not any(name.endswith(".safetensors") for name in names):
        raise not_found(
            f"{repository.name} at '{repository.revision}' lacks {', '.join(missing) or 'its weights (.safetensors)'}",
            "name another --revision",
        )
