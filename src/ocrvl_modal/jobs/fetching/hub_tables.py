"""Parquet files of a dataset on the hub: those of one configuration and one split."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ocrvl_modal.errors import ExitCode, OcrvlError, did_you_mean, not_found, usage_error
from ocrvl_modal.jobs.fetching.hub import (
    TOKEN,
    Listing,
    RemoteFile,
    Repository,
    is_repository,
    list_files,
    told_in_words,
)
from ocrvl_modal.jobs.progress import in_bytes

SCHEME = "hf://"

_CONVERTED = "refs/convert/parquet"
"""The revision in which the hub keeps a dataset of another form as Parquet."""

_DEFAULT_CONFIG, _DEFAULT_SPLIT = "default", "train"
_PART = re.compile(r"(?P<split>.+?)-\d+-of-\d+.*")
_EXAMPLE = "hf://owner/name/configuration:split"


@dataclass(frozen=True)
class HubTables:
    """What ``hf://owner/name[/configuration][:split]`` names."""

    repository: str
    config: str | None
    split: str | None

    @classmethod
    def of(cls, reference: str) -> HubTables:
        """Read a reference; raise a usage error for another form."""
        path, _, split = reference.removeprefix(SCHEME).removeprefix("datasets/").partition(":")
        owner, name, *rest = [*path.strip("/").split("/"), ""][:4]
        config = "/".join(part for part in rest if part) or None
        if path.strip("/").count("/") > 2 or not is_repository(f"{owner}/{name}"):
            raise usage_error(f"'{reference}' names no dataset of the hub", _EXAMPLE)
        return cls(f"{owner}/{name}", config, split or None)


def fetch_tables(reference: str, on_progress: Callable[[str, int, int], None]) -> list[Path]:
    """Make the Parquet files that a reference names present in the hub's cache of this machine, and return them.

    Without a configuration the only one or ``default`` is taken, without a split the only one or ``train``. Raises
    *not found* with the known names for others, and where the dataset has no Parquet file.
    """
    asked = HubTables.of(reference)
    command = f"ocrvl data convert {shlex.quote(reference)}"
    try:
        repository, listing = _listed(asked, command)
        chosen = choose(asked, listing.files)
        with told_in_words(repository):
            return _downloaded(repository, listing.commit, chosen, on_progress)
    except OcrvlError as error:
        if error.code is not ExitCode.NOT_PERMITTED:
            raise
        hint = f"export {TOKEN}=… of an account that may read it, then `{command}`"
        raise OcrvlError(error.message, hint, error.code) from error


def _listed(asked: HubTables, command: str) -> tuple[Repository, Listing]:
    """Return what the dataset holds; where that is no Parquet file, what the hub made of it."""
    repository = Repository("dataset", asked.repository, "main", command)
    with told_in_words(repository):
        listing = list_files(repository)
    if not any(name.endswith(".parquet") for name in listing.files):
        converted = replace(repository, revision=_CONVERTED)
        with suppress(OcrvlError), told_in_words(converted):
            return converted, list_files(converted)
    return repository, listing


def choose(asked: HubTables, files: Mapping[str, RemoteFile]) -> list[RemoteFile]:
    """Return the Parquet files among those of a dataset that are asked for; see :func:`fetch_tables`."""
    tables = [file for name, file in files.items() if name.endswith(".parquet")]
    if not tables:
        raise not_found(
            f"{asked.repository} holds no Parquet file, and the hub has not made one of it",
            f"ocrvl download dataset {asked.repository}, then convert what comes",
        )
    config = _pick("configuration", asked.config, _DEFAULT_CONFIG, map(_config_of, tables), asked)
    tables = [file for file in tables if _config_of(file) == config]
    split = _pick("split", asked.split, _DEFAULT_SPLIT, map(_split_of, tables), asked)
    return sorted((file for file in tables if _split_of(file) == split), key=lambda file: file.name)


def _pick(kind: str, asked: str | None, usual: str, found: Iterable[str], tables: HubTables) -> str:
    known = sorted(set(found))
    if asked is not None and asked not in known:
        raise not_found(f"{tables.repository} has no {kind} '{asked}'", did_you_mean(asked, known))
    if asked is None and usual not in known and len(known) > 1:
        raise usage_error(f"{tables.repository} has several {kind}s: {', '.join(known)}", f"name one: {_EXAMPLE}")
    return asked or (usual if usual in known else known[0])


def _config_of(file: RemoteFile) -> str:
    folders = PurePosixPath(file.name).parts[:-1]
    return _DEFAULT_CONFIG if not folders or folders[0] == "data" else folders[0]


def _split_of(file: RemoteFile) -> str:
    """Return a file's split: of ``train-00000-of-00002.parquet``, of ``default/train/0000.parquet``, or of its name."""
    path = PurePosixPath(file.name)
    if part := _PART.fullmatch(path.stem):
        return part["split"]
    return path.parent.name if path.stem.isdecimal() and path.parent.name else path.stem


def _downloaded(
    repository: Repository, commit: str, chosen: list[RemoteFile], on_progress: Callable[[str, int, int], None]
) -> list[Path]:
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import hf_hub_download

    total, done, paths = sum(file.size_bytes for file in chosen), 0, []
    for file in chosen:
        paths.append(Path(hf_hub_download(repository.name, file.name, repo_type="dataset", revision=commit)))
        done += file.size_bytes
        on_progress(in_bytes(f"fetching {repository.name}"), done, total)
    return paths
