"""Making a base model present in the models store: fetched from its repository, or, for the toy, made here."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files, locks
from ocrvl_modal.errors import ExitCode, OcrvlError, not_found, of_the_system
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.models import FAMILY_FILE, FamilyMember, find_member, get_member
from ocrvl_modal.places import Places

_NEEDED = ("config.json", "tokenizer.json", "chat_template.jinja", "preprocessor_config.json")
# The layout detector that shares the 0.9B repository is no part of what is tuned.
_NOT_WANTED = ["PP-DocLayout*", "*.gguf"]
_MEBIBYTE = 1 << 20
_ANSWER_TIMEOUT_S = 20.0


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
    with _alone_with(folder):
        fetched = asked.force or not _is_here(folder, asked.revision)
        if fetched and member.repository is None:
            _make(folder)
        elif fetched:
            _fetch(member, asked.revision, folder)
    result = DownloadResult(
        model=member.name, place=model_place(member), size_bytes=files.size_of_tree(folder), fetched=fetched
    )
    return result.model_dump(mode="json")


@contextmanager
def _alone_with(folder: Path) -> Iterator[None]:
    lock = locks.acquire(folder.with_name(f".{folder.name}.lock"))
    if lock is None:
        raise OcrvlError(f"another process fetches {folder.name} at this moment", "wait until it has ended")
    try:
        yield
    finally:
        os.close(lock)


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
    """Download into a folder that survives a broken line, and rename it when it is whole."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import snapshot_download

    repository = str(member.repository)
    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    with _told_in_words(member, revision):
        commit, sizes = _listing(repository, revision)
        _require_needed(repository, revision, sizes)
        _remove_broken(part, sizes)
        _require_room(member, part, sizes)
        with _progress_of(part, sum(sizes.values())):
            snapshot_download(repository, revision=commit, local_dir=part, ignore_patterns=_NOT_WANTED)
        _require_whole(repository, part, sizes)
    _remove_others(part, sizes)
    files.write_json(
        part / FAMILY_FILE,
        {"family": member.name, "repository": repository, "revision": revision, "commit": commit},
    )
    files.remove_folder(folder)
    part.replace(folder)


def _listing(repository: str, revision: str) -> tuple[str, dict[str, int]]:
    """Return the commit that a revision stands for, and the wanted files with their sizes.

    Asked first, and by itself: where the hub does not answer, its library would take what is here for all there is.
    """
    from huggingface_hub import HfApi

    info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=_ANSWER_TIMEOUT_S)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    not_wanted = {name for name in sizes if any(fnmatchcase(name, pattern) for pattern in _NOT_WANTED)}
    return info.sha or revision, {name: size for name, size in sizes.items() if name not in not_wanted}


@contextmanager
def _told_in_words(member: FamilyMember, revision: str) -> Iterator[None]:
    """Turn what the hub's library raises into an error that says what mends it."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    again = f"run `ocrvl download model {member.name}` again: files that are here do not travel again"
    try:
        yield
    except OcrvlError:
        raise
    except RevisionNotFoundError as error:
        raise not_found(f"{member.repository} has no revision '{revision}'", "--revision main") from error
    except Exception as error:
        message = f"{member.repository} could not be downloaded: {_first_line(error)}"
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in (401, 403):
            raise OcrvlError(
                message, f"set HF_TOKEN to a token that may read it, then {again}", ExitCode.NOT_PERMITTED
            ) from error
        if isinstance(error, RepositoryNotFoundError):
            raise not_found(message, "look whether the repository is still there under that name") from error
        if isinstance(error, OSError) and error.errno:
            raise of_the_system(error, again) from error
        raise OcrvlError(message, f"check the network, then {again}") from error


def _require_needed(repository: str, revision: str, names: Collection[str]) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing or not any(name.endswith(".safetensors") for name in names):
        raise not_found(
            f"{repository} at '{revision}' lacks {', '.join(missing) or 'its weights'}", "name another --revision"
        )


def _remove_broken(part: Path, sizes: Mapping[str, int]) -> None:
    """Remove files that a power cut left short: the hub's library goes by its notes, and takes them for whole."""
    for name, size in sizes.items():
        if not _is_whole(part / name, size):
            (part / name).unlink(missing_ok=True)


def _require_room(member: FamilyMember, part: Path, sizes: Mapping[str, int]) -> None:
    needed = sum(size for name, size in sizes.items() if not _is_whole(part / name, size))
    free = files.free_bytes(part)
    if free < needed:
        raise OcrvlError(
            f"{member.name} needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free", "free some space"
        )


def _require_whole(repository: str, part: Path, sizes: Mapping[str, int]) -> None:
    broken = [name for name, size in sizes.items() if not _is_whole(part / name, size)]
    if broken:
        raise OSError(f"{', '.join(broken)} of {repository} did not come whole")


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _remove_others(part: Path, names: Collection[str]) -> None:
    """Remove what is none of the model's files: notes of the hub's library, and files of another revision."""
    for path in sorted(part.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()
        elif path.relative_to(part).as_posix() not in names:
            path.unlink()


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
