"""Making a base model present in the models store: fetched from its repository, or, for the toy, made here."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.errors import OcrvlError, not_found
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.models import FAMILY_FILE, FamilyMember, find_member, get_member
from ocrvl_modal.places import Places

_NEEDED = ("config.json", "tokenizer.json", "chat_template.jinja", "preprocessor_config.json")
# The layout detector that shares the 0.9B repository is no part of what is tuned.
_NOT_WANTED = ["PP-DocLayout*", "*.gguf"]
_MEBIBYTE = 1 << 20


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


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Make the model present, whole or not at all; what is there already is not fetched again."""
    asked = DownloadRequest.model_validate(request)
    member = get_member(asked.model)
    folder = asked.places.models / member.name
    fetched = asked.force or not (folder / "config.json").is_file()
    if fetched and member.repository is None:
        _make(folder)
    elif fetched:
        _fetch(member, asked.revision, folder)
    result = DownloadResult(
        model=member.name, place=model_place(member), size_bytes=files.size_of_tree(folder), fetched=fetched
    )
    return result.model_dump(mode="json")


def _make(folder: Path) -> None:
    from ocrvl_modal.engines.tiny import make_tiny_model

    report_progress("making the tiny model", 0, 1)
    make_tiny_model(folder)
    report_progress("making the tiny model", 1, 1)


def _fetch(member: FamilyMember, revision: str, folder: Path) -> None:
    """Download into a folder that survives a broken line, and rename it when it is whole."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import snapshot_download

    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    needed, free = member.download_bytes, files.free_bytes(part) + files.size_of_tree(part)
    if free < needed:
        raise OcrvlError(f"{member.name} needs {needed >> 20} MiB, and {free >> 20} MiB are free", "free some space")
    try:
        with _progress_of(part, member.download_bytes):
            snapshot_download(str(member.repository), revision=revision, local_dir=part, ignore_patterns=_NOT_WANTED)
    except Exception as error:
        raise OcrvlError(
            f"{member.repository} could not be downloaded: {_first_line(error)}",
            f"check the network, then run `ocrvl download model {member.name}` again: it goes on where it stopped",
        ) from error
    missing = [name for name in _NEEDED if not (part / name).is_file()]
    if missing or not list(part.glob("*.safetensors")):
        raise not_found(
            f"{member.repository} at '{revision}' lacks {', '.join(missing) or 'its weights'}",
            "name another --revision",
        )
    files.write_json(part / FAMILY_FILE, {"family": member.name, "repository": member.repository, "revision": revision})
    files.remove_folder(folder)
    part.replace(folder)


@contextmanager
def _progress_of(folder: Path, total_bytes: int) -> Iterator[None]:
    """Tell how much has arrived, once a second, while the block runs."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(1.0):
            here = min(files.size_of_tree(folder), total_bytes)
            report_progress("downloading (MiB)", here // _MEBIBYTE, total_bytes // _MEBIBYTE)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
