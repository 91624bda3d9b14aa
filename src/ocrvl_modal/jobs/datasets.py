"""Datasets as jobs read them: plain rows beside plain images on a local disk, whatever the store holds them as."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal import files, locks
from ocrvl_modal.data.digest import dataset_digest
from ocrvl_modal.data.shards.index import DatasetIndex, Shard, parse_index
from ocrvl_modal.data.shards.members import IMAGES
from ocrvl_modal.data.shards.references import DatasetReference, parse_reference
from ocrvl_modal.data.shards.unpacking import copy_verified, damaged, is_whole, require_room, unpack
from ocrvl_modal.errors import not_found
from ocrvl_modal.jobs.local_images import copy_images
from ocrvl_modal.jobs.progress import in_bytes
from ocrvl_modal.places import Places, is_place

OnProgress = Callable[[str, int, int], None]
Fetch = Callable[[str, Path], None]
"""Brings a file of a store, by its place, to the local disk by another way than the job's own folders; or raises an
``OSError``."""

UNPACKED = ".unpacked"
"""In the data store of this machine: datasets as files, for whoever reads the same one again."""
COMPLETE = ".complete.json"

_AT_ONCE = 4
_READINGS = 3
_WAIT_S = 0.2


def localized(
    places: Places, reference: str, on_progress: OnProgress | None = None, fetch: Fetch | None = None
) -> Path:
    """Return a dataset's file of rows, with its images on a local disk.

    As :func:`readable`, but loose images in a store behind a network are copied too, since each costs a round trip.
    """
    path = readable(places, reference, on_progress, fetch)
    if places.remote and is_place(reference) and path == places.resolve(reference):
        return copy_images(path, _root(places), on_progress)
    return path


def readable(places: Places, reference: str, on_progress: OnProgress | None = None, fetch: Fetch | None = None) -> Path:
    """Return a dataset's file of rows.

    A stored dataset is unpacked, once for all jobs that share the disk, each shard verified before anything of it is
    used; any other file is read where it lies. Raises *not found* where a stored dataset is not there, and a data error
    for a shard that stays damaged.
    """
    stored = find_stored(places, reference)
    if stored is None:
        return places.resolve(reference)
    index, split = stored
    return _Unpacking(places, index, on_progress, fetch).folder() / f"{split}.jsonl"


def digest_of(places: Places, reference: str, again: str = "try again") -> str:
    """Return the digest of a dataset as it lies in its store, or on this machine.

    That of a stored one is in its index; it holds for what is unpacked, since every shard is verified. Raises *not
    found* where it is gone; ``again`` says how to go on when it is back.
    """
    stored = find_stored(places, reference)
    if stored is not None:
        index, split = stored
        return index.splits[split].sha256
    path = places.resolve(reference)
    if not path.is_file():
        raise not_found(f"{path} is not there any more", f"put it back, then {again}")
    return dataset_digest(path)


def find_stored(places: Places, reference: str) -> tuple[DatasetIndex, str] | None:
    """Return the index and the split that a reference with a version names; ``None`` where it names a file."""
    named = parse_reference(reference)
    if named is None or named.version is None or places.resolve(reference).is_file():
        return None
    path = places.resolve(named.index_place)
    if not path.is_file():
        if is_place(reference):
            return None
        raise not_found(f"there is no dataset {reference} in the data store", "ocrvl data ls")
    return _with_split(parse_index(path.read_bytes(), named.index_place), named)


def _with_split(index: DatasetIndex, named: DatasetReference) -> tuple[DatasetIndex, str]:
    if named.split not in index.splits:
        raise not_found(f"{index.reference} has no split '{named.split}'", f"it has: {', '.join(index.splits)}")
    return index, named.split


def unpacked_name(index: DatasetIndex) -> str:
    """Return the name of the folder in which a dataset is unpacked; versions of the same content share it."""
    return index.digest[:32]


def _root(places: Places) -> Path:
    """Return where unpacked datasets lie: in the store where that is a disk, so that ``volume gc`` sees them."""
    return places.scratch / "datasets" if places.remote else places.data / UNPACKED


@dataclass(frozen=True)
class _Unpacking:
    """One stored dataset on its way to the local disk."""

    places: Places
    index: DatasetIndex
    on_progress: OnProgress | None
    fetch: Fetch | None

    def folder(self) -> Path:
        """Return the folder that holds the dataset, unpacked now or by somebody before."""
        folder = _root(self.places) / unpacked_name(self.index)
        with _only_one(folder.with_suffix(".lock"), self.on_progress):
            if not _is_whole(folder, self.index):
                files.remove_folder(folder)
                require_room(self.index, folder, _AT_ONCE)
                with files.new_folder(folder) as beside:
                    self._unpack_all(beside)
                    files.write_json(beside / COMPLETE, {"digest": self.index.digest, **_extent(beside)})
            # Who collects garbage goes by when it was last used.
            os.utime(folder / COMPLETE)
        return folder

    def _unpack_all(self, folder: Path) -> None:
        """Copy, verify and unpack all shards, several at once, so that no more than those lie on the disk as well."""
        done = 0
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            for size in pool.map(lambda shard: self._unpack_one(shard, folder), self.index.shards):
                done += size
                if self.on_progress:
                    self.on_progress(in_bytes(f"unpacking {self.index.reference}"), done, self.index.size_bytes)
        finally:
            pool.shutdown(cancel_futures=True)

    def _unpack_one(self, shard: Shard, folder: Path) -> int:
        copy = folder / f".{shard.sha256}.tar"
        if not self._copy(shard, copy):
            is_there = self.places.resolve(shard.place).is_file()
            raise damaged(self.index, shard, "damaged" if is_there else "missing")
        unpack(copy, folder)
        copy.unlink()
        return shard.size_bytes

    def _copy(self, shard: Shard, copy: Path) -> bool:
        """Copy a shard from the store; say whether it arrived as it should be.

        A mount may serve a part of what was just written, or what it cached of an earlier content. So it is read again,
        and at last past the mount, where the host knows a way.
        """
        for reading in range(_READINGS):
            time.sleep(reading * _WAIT_S)
            with contextlib.suppress(FileNotFoundError), self.places.resolve(shard.place).open("rb") as stream:
                if reading and hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if copy_verified(stream, copy, shard):
                    return True
        if self.fetch is None:
            return False
        with contextlib.suppress(OSError):
            self.fetch(shard.place, copy)
            return is_whole(copy, shard)
        return False


@contextmanager
def _only_one(lock: Path, on_progress: OnProgress | None) -> Iterator[None]:
    """Hold a lock for the length of a block; wait while another process has it: it does the same work."""
    while (descriptor := locks.acquire(lock)) is None:
        if on_progress:
            on_progress("waiting for another process that unpacks the same dataset", 0, 1)
        time.sleep(_WAIT_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _is_whole(folder: Path, index: DatasetIndex) -> bool:
    """Say whether an unpacked dataset is as it was: rows by digest, images by number, sizes and times."""
    try:
        told = json.loads((folder / COMPLETE).read_bytes())
        same = told == {"digest": index.digest, **_extent(folder)}
        return same and all(
            files.sha256_of(folder / f"{name}.jsonl") == split.sha256 for name, split in index.splits.items()
        )
    except (OSError, ValueError):
        return False


def _extent(folder: Path) -> dict[str, int]:
    count = size = times = 0
    with os.scandir(folder / IMAGES) as found:
        for entry in found:
            status = entry.stat()
            count += 1
            size += status.st_size
            times += status.st_mtime_ns
    return {"images": count, "image_bytes": size, "mtimes_ns": times}
