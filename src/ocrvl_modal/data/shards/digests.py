"""Digests of files, and what tells cheaply that a file is still the one whose digest was taken."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import msgspec

from ocrvl_modal.data.crew import crew_for
from ocrvl_modal.data.image_endings import ending_of
from ocrvl_modal.data.shards.effort import worthwhile_processes
from ocrvl_modal.errors import data_error, of_the_system

CHUNK_BYTES = 1 << 20
_PORTION = 128
_PORTION_CHARACTERS = 64 << 10
"""So many of paths are less than a pipe holds, which is what a crew asks for."""

_SETTLED_NS = 2_000_000_000
"""A file system may give two writes within this time one and the same time stamp."""


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a file for reading, for the length of a block: with nothing around it, since there are so many."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Stamp(NamedTuple):
    """What changes with every write to a file, in nanoseconds and bytes."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str | int) -> Stamp:
        """Return the stamp of a file, which may be open already."""
        status = os.stat(path)  # noqa: PTH116 - a Path costs as much as the call
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    def is_settled(self, moment_ns: int) -> bool:
        """Say whether a later write would certainly give another stamp than this, which was seen at ``moment_ns``."""
        return max(self.mtime_ns, self.ctime_ns) < moment_ns - _SETTLED_NS


class KnownFile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file whose digest was taken. ``settled`` says that the stamp tells any change since."""

    path: str
    sha256: str
    ending: str
    stamp: Stamp
    settled: bool

    def is_unchanged(self) -> bool:
        """Say whether the file is certainly as it was."""
        try:
            return self.settled and Stamp.of(self.path) == self.stamp
        except OSError:
            return False


@dataclass(frozen=True)
class Digesting:
    """Takes digests, in whichever process."""

    did: ClassVar[str] = "read the images"
    again: ClassVar[str] = "push again"

    def worker(self) -> Digesting:
        """Return who reads."""
        return self

    def digest(self, paths: Sequence[str]) -> list[KnownFile]:
        """Return each file with its digest; raise a data error for one that is not there."""
        return list(map(_digest, paths))


def digest_files(
    paths: Sequence[str], known: Mapping[str, KnownFile], on_progress: Callable[[int, int], None]
) -> list[KnownFile]:
    """Return each file with its digest, in the order of ``paths``; those that are known and unchanged are not read.

    The others are read by several processes where they are many. Raises a data error for a file that cannot be read.
    """
    found = {path: file for path in paths if (file := known.get(path)) is not None and file.is_unchanged()}
    portions = list(_portions([path for path in paths if path not in found] if found else paths))
    with crew_for(Digesting(), _processes_for(portions)) as crew:
        for files in crew.run("digest", ((portion,) for portion in portions)):
            found.update((file.path, file) for file in files)
            on_progress(len(found), len(paths))
    return [found[path] for path in paths]


def _portions(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size = 0
    for end, path in enumerate(paths):
        size += len(path)
        if end - start == _PORTION or size > _PORTION_CHARACTERS:
            yield paths[start:end]
            start, size = end, len(path)
    if start < len(paths):
        yield paths[start:]


def _processes_for(portions: Sequence[Sequence[str]]) -> int:
    """Guess from the first files how much there is to read."""
    if not portions:
        return 1
    sizes = [_size_of(path) for path in portions[0]]
    count = sum(map(len, portions))
    return worthwhile_processes(count, count * sum(sizes) // len(sizes), len(portions))


def _size_of(path: str) -> int:
    try:
        return Stamp.of(path).size_bytes
    except OSError:
        # Whoever reads it tells.
        return 0


def _digest(path: str) -> KnownFile:
    try:
        moment = time.time_ns()
        digest = hashlib.sha256()
        with opened(path) as descriptor:
            stamp = Stamp.of(descriptor)
            # No larger than the file, since room for a whole chunk takes longer than to read a small image.
            head = os.read(descriptor, min(stamp.size_bytes + 1, CHUNK_BYTES))
            digest.update(head)
            # A file of the size that it says gave less than was asked for, and has no more.
            while len(head) != stamp.size_bytes and (chunk := os.read(descriptor, CHUNK_BYTES)):
                digest.update(chunk)
    except FileNotFoundError as error:
        raise data_error(f"there is no image {path}", "ocrvl data check lists all that are missing") from error
    except OSError as error:
        raise of_the_system(error, "push again") from error
    return KnownFile(path, digest.hexdigest(), ending_of(head), stamp, stamp.is_settled(moment))
