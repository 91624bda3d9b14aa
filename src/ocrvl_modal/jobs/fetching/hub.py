"""Fetching a repository of a model hub into a folder, whole or not at all; a broken line costs one file at most."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from ocrvl_modal import files, locks
from ocrvl_modal.errors import ExitCode, OcrvlError, first_line, not_found, of_the_system
from ocrvl_modal.jobs.progress import report_progress

_MEBIBYTE = 1 << 20
_ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Repository:
    """What to fetch: a repository at a revision, but for files that match ``not_wanted``.

    ``command`` is what the user runs to fetch it, and so to go on after a broken line.
    """

    kind: Literal["model", "dataset"]
    name: str
    revision: str
    command: str
    not_wanted: tuple[str, ...] = ()

    @property
    def again(self) -> str:
        """How to go on after a broken line."""
        return f"run `{self.command}` again: files that are here do not travel again"


def fetch(
    repository: Repository,
    folder: Path,
    require: Callable[[Collection[str]], None],
    finish: Callable[[Path, str], None],
) -> None:
    """Download into a folder that survives a broken line, and rename it to ``folder`` when it is whole.

    ``require`` raises where the listed file names will not do; ``finish`` gets the whole folder and its commit just
    before it is renamed.
    """
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import snapshot_download

    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    with _told_in_words(repository):
        commit, sizes = _listing(repository)
        require(sizes)
        _remove_broken(part, sizes)
        _require_room(repository, part, sizes)
        with _progress_of(part, sum(sizes.values())):
            snapshot_download(
                repository.name,
                repo_type=repository.kind,
                revision=commit,
                local_dir=part,
                ignore_patterns=list(repository.not_wanted),
            )
        _require_whole(repository, part, sizes)
    _remove_others(part, sizes)
    finish(part, commit)
    files.remove_folder(folder)
    part.replace(folder)


@contextmanager
def alone_with(folder: Path) -> Iterator[None]:
    """Keep any other process of this machine from fetching into ``folder`` while the block runs."""
    lock = locks.acquire(folder.with_name(f".{folder.name}.lock"))
    if lock is None:
        raise OcrvlError(f"another process fetches {folder.name} at this moment", "wait until it has ended")
    try:
        yield
    finally:
        os.close(lock)


def _listing(repository: Repository) -> tuple[str, dict[str, int]]:
    """Return the commit that a revision stands for, and the wanted files with their sizes.

    Asked first, and by itself: where the hub does not answer, its library would take what is here for all there is.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    ask = hub.model_info if repository.kind == "model" else hub.dataset_info
    info = ask(repository.name, revision=repository.revision, files_metadata=True, timeout=_ANSWER_TIMEOUT_S)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    not_wanted = {name for name in sizes if any(fnmatchcase(name, pattern) for pattern in repository.not_wanted)}
    return info.sha or repository.revision, {name: size for name, size in sizes.items() if name not in not_wanted}


@contextmanager
def _told_in_words(repository: Repository) -> Iterator[None]:
    """Turn what the hub's library raises into an error that says what mends it."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except OcrvlError:
        raise
    except RevisionNotFoundError as error:
        raise not_found(f"{repository.name} has no revision '{repository.revision}'", "--revision main") from error
    except Exception as error:
        message = f"{repository.name} could not be downloaded: {first_line(error)}"
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in (401, 403):
            raise OcrvlError(
                message, f"set HF_TOKEN to a token that may read it, then {repository.again}", ExitCode.NOT_PERMITTED
            ) from error
        if isinstance(error, RepositoryNotFoundError):
            raise not_found(message, "look whether the repository is still there under that name") from error
        if isinstance(error, OSError) and error.errno:
            raise of_the_system(error, repository.again) from error
        raise OcrvlError(message, f"check the network, then {repository.again}") from error


def _remove_broken(part: Path, sizes: Mapping[str, int]) -> None:
    """Remove files that a power cut left short: the hub's library goes by its notes, and takes them for whole."""
    for name, size in sizes.items():
        if not _is_whole(part / name, size):
            (part / name).unlink(missing_ok=True)


def _require_room(repository: Repository, part: Path, sizes: Mapping[str, int]) -> None:
    needed = sum(size for name, size in sizes.items() if not _is_whole(part / name, size))
    free = files.free_bytes(part)
    if free < needed:
        raise OcrvlError(
            f"{repository.name} needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free", "free some space"
        )


def _require_whole(repository: Repository, part: Path, sizes: Mapping[str, int]) -> None:
    broken = [name for name, size in sizes.items() if not _is_whole(part / name, size)]
    if broken:
        raise OSError(f"{', '.join(broken)} of {repository.name} did not come whole")


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _remove_others(part: Path, names: Collection[str]) -> None:
    """Remove what is none of the repository's files: notes of the hub's library, and files of another revision."""
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
