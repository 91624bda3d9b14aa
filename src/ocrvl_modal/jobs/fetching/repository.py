"""Fetching a repository of a hub into a folder, whole and verified or not at all; what arrived is never lost.

It arrives in a folder of its own, named by the commit, and is renamed when every byte is verified. One process of a
machine works on it at a time. Containers do not see each other's locks, and two may fetch the same model at once: both
write the same verified bytes of the same commit, each in its own view of the volume, so that whichever is kept last is
whole, and no claim is needed that a crash would leave behind. Should two commits of one model ever mix, then the files
disagree with ``.complete``, which is written last and lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal import files, locks
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.fetched_models import FetchedFile
from ocrvl_modal.jobs.fetching.hub import LARGE_BYTES, Listing, Repository, download_file, list_files, told_in_words
from ocrvl_modal.jobs.fetching.meter import Meter
from ocrvl_modal.jobs.progress import in_bytes

_SMALL_AT_ONCE = 8
_COMMIT_LETTERS = 12


@dataclass(frozen=True)
class Arrived:
    """A repository that lies whole in ``folder``, which is not yet the one that it will be found in."""

    folder: Path
    commit: str
    files: Mapping[str, FetchedFile]


def fetch(
    repository: Repository,
    folder: Path,
    require: Callable[[Collection[str]], None],
    finish: Callable[[Arrived], None],
) -> None:
    """Download into a folder that survives a broken line, and rename it to ``folder`` when it is whole.

    ``require`` raises where the listed file names will not do; ``finish`` may add to what arrived just before it is
    renamed.
    """
    with told_in_words(repository):
        # Asked first, and by itself: where the hub does not answer, its library would take what is here for all.
        listing = list_files(repository)
        require(listing.files)
        part = part_folder(folder, listing.commit)
        part.mkdir(parents=True, exist_ok=True)
        sound = _sound_files(part, listing)
        _require_room(repository, part, listing, sound)
        sound |= _fetch_others(repository, listing, part, sound)
    _remove_others(part, listing.files)
    finish(Arrived(part, listing.commit, {name: sound[name] for name in sorted(sound)}))
    files.remove_folder(folder)
    part.replace(folder)


def part_folder(folder: Path, commit: str) -> Path:
    """Return where a commit arrives that will lie in ``folder``."""
    return folder.with_name(f".{folder.name}.{commit[:_COMMIT_LETTERS]}.part")


def lock_file(folder: Path) -> Path:
    """Return the lock that is held while something arrives for ``folder``."""
    return folder.with_name(f".{folder.name}.lock")


def alone_with(folder: Path) -> AbstractContextManager[None]:
    """Keep any other process of this machine from fetching into ``folder`` while a block runs."""
    busy = OcrvlError(f"another process fetches {folder.name} at this moment", "wait until it has ended")
    return locks.held(lock_file(folder), busy)


def _sound_files(part: Path, listing: Listing) -> dict[str, FetchedFile]:
    """Return the files that are here whole, by their digests; others of a listed name are removed."""
    found = {}
    for name, file in listing.files.items():
        path = part / name
        if sha256 := file.digest_if_sound(path):
            found[name] = FetchedFile(size_bytes=file.size_bytes, sha256=sha256)
        else:
            path.unlink(missing_ok=True)
    return found


def _require_room(repository: Repository, part: Path, listing: Listing, sound: Mapping[str, FetchedFile]) -> None:
    needed = listing.size_bytes - sum(file.size_bytes for file in sound.values())
    free = files.free_bytes(part)
    if free < needed:
        raise OcrvlError(
            f"{repository.name} needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free", "free some space"
        )


def _fetch_others(
    repository: Repository, listing: Listing, part: Path, sound: Mapping[str, FetchedFile]
) -> dict[str, FetchedFile]:
    """Fetch what is not here: small files side by side, then the large ones, each by several connections."""
    others = [name for name in listing.files if name not in sound]
    small = [name for name in others if listing.files[name].size_bytes <= LARGE_BYTES]
    here_bytes = sum(file.size_bytes for file in sound.values())
    with Meter(in_bytes("downloading"), listing.size_bytes, here_bytes) as meter:

        def bring(name: str) -> FetchedFile:
            file, path = listing.files[name], part / name
            verified = download_file(repository, listing.commit, file, part, lambda done, _: meter.tell(name, done))
            sha256 = verified or file.digest_if_sound(path)
            if sha256 is None:
                path.unlink(missing_ok=True)
                raise OcrvlError(f"{name} of {repository.name} did not come as the hub has it", repository.again)
            return FetchedFile(size_bytes=file.size_bytes, sha256=sha256)

        brought = dict(zip(small, _side_by_side(bring, small), strict=True))
        return brought | {name: bring(name) for name in others if name not in brought}


def _side_by_side(bring: Callable[[str], FetchedFile], names: list[str]) -> list[FetchedFile]:
    """Fetch several files at once; the first failure keeps the others from being begun."""
    pool = ThreadPoolExecutor(_SMALL_AT_ONCE)
    try:
        return list(pool.map(bring, names))
    finally:
        pool.shutdown(cancel_futures=True)


def _remove_others(part: Path, names: Collection[str]) -> None:
    """Remove what is none of the repository's files, such as notes of the hub's library."""
    for path in sorted(part.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()
        elif path.relative_to(part).as_posix() not in names:
            path.unlink()
