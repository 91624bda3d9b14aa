"""The part of a file that is here: written in any order, noted in its journal, digested and flushed on the way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocrvl_modal import locks
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.transfer.digest import FrontDigest
from ocrvl_modal.transfer.journal import Journal

UNNOTED_BYTES = 3 << 20
"""As much may be written before the journal says so, and travels again after a kill."""

_FLUSH_BYTES = 64 << 20


def part_of(destination: Path) -> Path:
    """Return where a file lies until it is whole."""
    return destination.with_name(f"{destination.name}.part")


def journal_of(destination: Path) -> Path:
    """Return where the journal of the part lies."""
    return destination.with_name(f"{destination.name}.part.json")


def discard_part(destination: Path) -> None:
    """Remove the part of a file and its journal, where there are any."""
    journal_of(destination).unlink(missing_ok=True)
    part_of(destination).unlink(missing_ok=True)


def sweep(destination: Path) -> None:
    """Remove the journal that a call left which died just after it had given a file its name."""
    if not part_of(destination).exists():
        journal_of(destination).unlink(missing_ok=True)


@contextmanager
def alone_with_part(destination: Path) -> Iterator[int]:
    """Yield the open part of ``destination``, which no other process writes while the block runs.

    The part itself is what is locked: nothing else would have to be cleaned up.
    """
    path = part_of(destination)
    while True:
        descriptor = locks.acquire(path)
        if descriptor is None:
            raise OcrvlError(f"another process fetches {destination.name} at this moment", "wait until it has ended")
        if _is_open_file(descriptor, path):
            break
        # Whoever held it has just finished: what was locked has the final name now, and is none of ours to write.
        os.close(descriptor)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_open_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class Part:
    """An open part that several threads write. Use it as a block: it notes what is here however the block ends."""

    def __init__(self, descriptor: int, journal: Journal) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._unnoted = 0
        self._unflushed = 0
        self._ended = False
        self._flush_error: OSError | None = None
        self._changed = threading.Condition()
        self._digest = FrontDigest(descriptor)
        self._digest.advance(journal.written.front)
        self._flusher = threading.Thread(target=self._flush_now_and_then, name="flush", daemon=True)
        self._flusher.start()

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self._digest.break_off()
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._flusher.join()
        self._journal.save()
        self._journal.close()

    @property
    def written_bytes(self) -> int:
        """How many bytes are here."""
        with self._changed:
            return self._journal.written.total

    def write(self, position: int, block: bytes) -> None:
        """Write a block and note it."""
        rest = memoryview(block)
        while rest:
            rest = rest[os.pwrite(self._descriptor, rest, position + len(block) - len(rest)) :]
        with self._changed:
            self._journal.written.add(position, position + len(block))
            self._unnoted += len(block)
            self._unflushed += len(block)
            if self._unnoted >= UNNOTED_BYTES:
                self._journal.save()
                self._unnoted = 0
            if self._unflushed >= _FLUSH_BYTES:
                self._changed.notify()
            front = self._journal.written.front
        self._digest.advance(front)

    def finish(self) -> str:
        """Bring all to the disk; return the SHA-256 of the file, whose every byte is written."""
        size = os.fstat(self._descriptor).st_size
        _flush(self._descriptor)
        if self._flush_error is not None:
            raise self._flush_error
        return self._digest.finish(size)

    def _flush_now_and_then(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._unflushed >= _FLUSH_BYTES)
                if self._ended:
                    return
                written, self._unflushed = self._journal.written.copy(), 0
            try:
                _flush(self._descriptor)
            except OSError as error:
                self._flush_error = error
                return
            with self._changed:
                self._journal.flushed = written
                self._journal.save()
                self._unnoted = 0


def _flush(descriptor: int) -> None:
    """Bring a file's content to the disk itself; macOS has only the call that brings its times along."""
    getattr(os, "fdatasync", os.fsync)(descriptor)
