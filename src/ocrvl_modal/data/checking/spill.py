"""What grows with a dataset, kept on the disk: hashes sorted into buckets, and texts by number."""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType

_FLUSHED_BYTES = 64 << 10
_KEY_BYTES = 8
_MOST_BUCKETS = 256
_KEYS_IN_A_BUCKET = 64_000
"""About as many are brought into memory at once."""


class Hashes:
    """Finds which of any number of 64-bit hashes occur more than once."""

    def __init__(self, expected: int) -> None:
        """``expected`` is a rough number of hashes."""
        self._buckets = 1
        while self._buckets < _MOST_BUCKETS and self._buckets * _KEYS_IN_A_BUCKET < expected:
            self._buckets *= 2
        self._kept = [array("q") for _ in range(self._buckets)]
        self._spilled: list[list[tuple[int, int]]] = [[] for _ in range(self._buckets)]
        self._file = tempfile.TemporaryFile(prefix="ocrvl-check-")  # noqa: SIM115 - closed with this object

    def __enter__(self) -> Hashes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, keys: Iterable[int]) -> None:
        """Add hashes."""
        mask, appends = self._buckets - 1, [kept.append for kept in self._kept]
        for key in keys:
            appends[key & mask](key)
        for bucket, kept in enumerate(self._kept):
            if len(kept) * _KEY_BYTES >= _FLUSHED_BYTES:
                self._spill(bucket, kept)

    def _spill(self, bucket: int, kept: array[int]) -> None:
        self._spilled[bucket].append((self._file.tell(), len(kept)))
        kept.tofile(self._file)
        self._kept[bucket] = array("q")

    def repeated(self) -> Iterator[int]:
        """Yield each hash that occurs more than once; call it once, when all are added."""
        for bucket, kept in enumerate(self._kept):
            for place, count in self._spilled[bucket]:
                self._file.seek(place)
                kept.fromfile(self._file, count)
            if len(set(kept)) < len(kept):
                yield from (key for key, count in Counter(kept).items() if count > 1)
            self._kept[bucket] = array("q")


class Texts:
    """Texts by number, of which only their places are in memory."""

    def __init__(self) -> None:
        self._ends = array("q", [0])
        self._file = tempfile.TemporaryFile(prefix="ocrvl-check-")  # noqa: SIM115 - closed with this object

    def close(self) -> None:
        """Forget all texts."""
        self._file.close()

    def append(self, text: str) -> None:
        """Add a text, whose number is how many there were before."""
        self._file.seek(self._ends[-1])
        self._ends.append(self._ends[-1] + self._file.write(text.encode("utf-8", "surrogatepass")))

    def __getitem__(self, number: int) -> str:
        self._file.seek(self._ends[number])
        return self._file.read(self._ends[number + 1] - self._ends[number]).decode("utf-8", "surrogatepass")
