"""What ``.complete`` says of a model that came from a hub: where from, and each file's size and digest.

It is written last. A model that came from a hub and has none, or one that its files disagree with, is what a crash
left of a download, and no model; one that was made here or put here by hand has none and needs none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ocrvl_modal.models import FAMILY_FILE

COMPLETE = ".complete"
_WEIGHTS = (".safetensors", ".safetensors.index.json")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FetchedFile(_Frozen):
    """A file as it was when it had been verified."""

    size_bytes: int
    sha256: str


class FetchedModel(_Frozen):
    """The content of ``.complete``: the repository, the revision that was asked for, and its commit."""

    schema_version: int = 1
    repository: str
    revision: str
    commit: str
    files: dict[str, FetchedFile]

    @field_validator("files")
    @classmethod
    def _below_the_folder(cls, files: dict[str, FetchedFile]) -> dict[str, FetchedFile]:
        if any(name.startswith("/") or ".." in name.split("/") for name in files):
            raise ValueError("a file of a model lies in its folder")
        return files

    def to_json(self) -> bytes:
        """Return the bytes of ``.complete``."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def parse_complete(content: bytes | None) -> FetchedModel | None:
    """Return what ``.complete`` says, or ``None`` where it is damaged, or there is none."""
    try:
        return FetchedModel.model_validate_json(content or b"")
    except ValidationError:
        return None


def has_other_revision(fetched: FetchedModel | None, revision: str) -> bool:
    """Say whether a model was fetched at another revision.

    One that was made here, or put here by hand, has no ``.complete``, and stands for all.
    """
    return fetched is not None and revision not in (fetched.revision, fetched.commit)


def problem_with(sizes: Mapping[str, int], complete: bytes | None, family: bytes | None) -> str | None:
    """Return why the files of a folder are not a whole model, or ``None`` where they may be one.

    ``sizes`` has each file's bytes by its path in the folder; ``complete`` and ``family`` are the contents of
    ``.complete`` and ``ocrvl.json`` where they are there. No content of any other file is looked at.
    """
    if complete is None:
        return "its download was cut off" if _is_of_a_hub(family) else None
    fetched = parse_complete(complete)
    if fetched is None:
        return f"{COMPLETE} cannot be read"
    for name, file in fetched.files.items():
        if name not in sizes:
            return f"{name} is missing"
        if sizes[name] != file.size_bytes:
            return f"{name} has {sizes[name]} bytes of {file.size_bytes}"
    # A loader takes every weight that it finds.
    strangers = sorted(name for name in sizes if name.endswith(_WEIGHTS) and name not in fetched.files)
    return f"{strangers[0]} did not come with the others" if strangers else None


def problem_with_folder(folder: Path) -> str | None:
    """Return why a model's folder on this machine is not whole; see :func:`problem_with`."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return problem_with(sizes, read_complete(folder), _content(folder / FAMILY_FILE))


def read_complete(folder: Path) -> bytes | None:
    """Return the content of a folder's ``.complete``, or ``None`` where it has none."""
    return _content(folder / COMPLETE)


def _is_of_a_hub(family: bytes | None) -> bool:
    try:
        return "repository" in json.loads(family or b"{}")
    except (ValueError, TypeError):
        return False


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
