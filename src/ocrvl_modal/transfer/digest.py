"""The SHA-256 of a file while it arrives: a thread that reads what is here from the front on."""

from __future__ import annotations

import hashlib
import io
import threading

_READ_BYTES = 8 << 20
"""Large, since each read has to win Python's lock from the threads that fetch."""


class FrontDigest:
    """Digests an open file as far as :meth:`advance` says that it is written without a gap.

    It reads what was just written from the system's memory: to keep it in ours until its turn is not faster.
    """

    def __init__(self, descriptor: int) -> None:
        # Nobody else moves the descriptor's place: blocks are written at places of their own.
        self._file = io.FileIO(descriptor, closefd=False)
        self._file.seek(0)
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._digest = hashlib.sha256()
        self._front = 0
        self._done = 0
        self._whole = False
        self._broken_off = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="digest", daemon=True)
        self._thread.start()

    def advance(self, front: int) -> None:
        """Say that all bytes before ``front`` are written."""
        with self._changed:
            self._front = max(front, self._front)
            if self._front - self._done >= _READ_BYTES:
                self._changed.notify()

    def finish(self, size: int) -> str:
        """Return the digest of the first ``size`` bytes, which are all written."""
        with self._changed:
            self._front, self._whole = size, True
            self._changed.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def break_off(self) -> None:
        """End without a result."""
        with self._changed:
            self._broken_off = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (end := self._next_end()) is not None:
                self._read_to(end)
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the digest
            self._error = error

    def _next_end(self) -> int | None:
        """Wait for enough to read, or for the end; return up to where, ``None`` when there is no more."""
        with self._changed:
            while True:
                if self._broken_off or (self._whole and self._done == self._front):
                    return None
                if self._whole or self._front - self._done >= _READ_BYTES:
                    return self._front
                self._changed.wait()

    def _read_to(self, end: int) -> None:
        while self._done < end and not self._broken_off:
            count = self._file.readinto(self._buffer[: end - self._done])
            if not count:
                raise OSError(f"the part ends at {self._done} bytes, before {end}")
            self._digest.update(self._buffer[:count])
            self._done += count
