"""Files that are whole or absent: written beside their place, flushed, and renamed into it."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_YOUNG_S = 5.0


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside ``path`` that becomes ``path`` when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old content or the new, never a part."""
    with new_file(path) as beside, beside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def flush(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, destination: Path) -> None:
    """Copy a file so that ``destination`` is absent, old or whole at any moment."""
    with new_file(destination) as beside:
        shutil.copyfile(source, beside)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see :func:`write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; see :func:`write_bytes`."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that becomes ``path`` when the block ends well, and vanishes otherwise.

    A folder that stands at ``path`` already is replaced. What an earlier call left that was killed is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        _remove_unless_held(abandoned)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    holder = _hold(beside)
    try:
        yield beside
        beside.chmod(0o755)
        remove_folder(path)
        beside.replace(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    finally:
        os.close(holder)


def _hold(folder: Path) -> int:
    """Lock a folder for as long as its returned descriptor is open: it tells that whoever fills it is alive."""
    descriptor = os.open(folder, os.O_RDONLY)
    # A file system over a network may know no locks; nothing is removed there.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _remove_unless_held(folder: Path) -> None:
    """Remove a folder that nobody fills any more; one of this moment may not be locked yet."""
    with suppress(OSError):
        if not folder.is_dir() or time.time() - folder.stat().st_mtime < _YOUNG_S:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Remove a folder in one visible step: it is renamed out of the way first, then emptied."""
    if not path.exists():
        return
    doomed = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".removing", dir=path.parent))
    path.replace(doomed / path.name)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what :func:`new_folder`, :func:`remove_folder` or :func:`write_bytes` left here when it was killed."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith(".") and entry.suffix in {".tmp", ".removing"}:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def size_of_tree(path: Path) -> int:
    """Return the bytes of all files at and below ``path``."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            # What is being written there may go or get another name at any moment.
            with suppress(FileNotFoundError):
                total += Path(folder, name).stat().st_size
    return total


def is_vacant(path: Path) -> bool:
    """Say whether a folder may be put at ``path``: nothing is there, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def free_bytes(path: Path) -> int:
    """Return the bytes that can still be written where ``path`` is, or will be.

    A file system over a network may not say, and tell of no blocks at all; it counts as one without end.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    usage = shutil.disk_usage(existing)
    return usage.free if usage.total else sys.maxsize
