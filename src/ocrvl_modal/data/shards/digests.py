"""Digests of files, and what tells cheaply that a file is still the one whose digest was taken."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import msgspec

from ocrvl_modal.errors import data_error, of_the_system

THREADS = 8

CHUNK_BYTES = 1 << 20
_PORTION = 128
_ENDINGS = (
    (re.compile(rb"\x89PNG"), ".png"),
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), ".tif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"GIF8"), ".gif"),
    (re.compile(rb"BM"), ".bmp"),
)
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


def digest_files(
    paths: Iterable[str], known: Mapping[str, KnownFile], on_progress: Callable[[int, int], None]
) -> list[KnownFile]:
    """Return each file with its digest, in the order of ``paths``; those that are known and unchanged are not read.

    Reading begins while ``paths`` still come. Raises a data error for a file that cannot be read.
    """
    portions: list[Future[list[KnownFile]]] = []
    count = 0
    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    try:
        for portion in _portions(paths):
            portions.append(pool.submit(_digest_portion, portion, known))
            count += len(portion)
        found: list[KnownFile] = []
        for ended in portions:
            found += ended.result()
            on_progress(len(found), count)
        return found
    finally:
        pool.shutdown(cancel_futures=True)


def _portions(paths: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(paths)
    while portion := list(islice(rest, _PORTION)):
        yield portion


def _digest_portion(paths: Sequence[str], known: Mapping[str, KnownFile]) -> list[KnownFile]:
    return [_digest(path, known.get(path)) for path in paths]


def _digest(path: str, known: KnownFile | None) -> KnownFile:
    if known is not None and known.is_unchanged():
        return known
    try:
        moment = time.time_ns()
        digest = hashlib.sha256()
        with opened(path) as descriptor:
            stamp = Stamp.of(descriptor)
            # No larger than the file, since room for a whole chunk takes longer than to read a small image.
            head = os.read(descriptor, min(stamp.size_bytes + 1, CHUNK_BYTES))
            digest.update(head)
            while chunk := os.read(descriptor, CHUNK_BYTES if stamp.size_bytes >= CHUNK_BYTES else 1):
                digest.update(chunk)
    except FileNotFoundError as error:
        raise data_error(f"there is no image {path}", "ocrvl data check lists all that are missing") from error
    except OSError as error:
        raise of_the_system(error, "push again") from error
    return KnownFile(path, digest.hexdigest(), _ending_of(head), stamp, stamp.is_settled(moment))


def _ending_of(head: bytes) -> str:
    """Return the ending by which programs know an image's format, told by its first bytes; none for another file."""
    return next((ending for magic, ending in _ENDINGS if magic.match(head)), "")
