"""Images that two datasets share: what was learned from cannot show how well new images are read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Literal

from ocrvl_modal.data.checking.likeness import BITS, MOST_BITS, near_duplicates

_DIGEST_BYTES = 16
_HASH_BYTES = BITS // 8 + 1


class Fingerprints:
    """What the images of a dataset are known by: some 60 bytes each, in the order in which they were added."""

    def __init__(self) -> None:
        self._lines = array("Q")
        self._digests = bytearray()
        self._hashes = bytearray()
        # Where in all the images those stand that have a likeness.
        self._with_likeness = array("Q")

    def add(self, line: int, sha256: str, likeness: int | None) -> None:
        """Add the image of a line, as :func:`~ocrvl_modal.data.checking.images.look_at_image` saw it."""
        if likeness is not None:
            self._with_likeness.append(len(self._lines))
            self._hashes += likeness.to_bytes(_HASH_BYTES, "little")
        self._lines.append(line)
        self._digests += bytes.fromhex(sha256)[:_DIGEST_BYTES]

    def __len__(self) -> int:
        return len(self._lines)

    def line(self, index: int) -> int:
        """Return the line of an image."""
        return self._lines[index]

    def digests(self) -> Iterator[bytes]:
        """Yield the beginning of each image's digest."""
        for at in range(0, len(self._digests), _DIGEST_BYTES):
            yield bytes(self._digests[at : at + _DIGEST_BYTES])

    def likenesses(self) -> Iterator[tuple[int, int]]:
        """Yield the index and the likeness of each image that has one."""
        for number, index in enumerate(self._with_likeness):
            at = number * _HASH_BYTES
            yield index, int.from_bytes(self._hashes[at : at + _HASH_BYTES], "little")


@dataclass(frozen=True)
class Leak:
    """An image of one dataset, by its line, that is in another as well, by the line there."""

    line: int
    other_line: int
    how: Literal["bytes", "likeness"]


def leaks(ours: Fingerprints, theirs: Fingerprints, same: Callable[[int, int], bool] | None = None) -> list[Leak]:
    """Return the images of ``ours`` that ``theirs`` has too, in the order of ``ours``: each once, by the first match.

    Bytes are compared first, then likenesses. ``same`` confirms two likenesses as in
    :func:`~ocrvl_modal.data.checking.likeness.near_duplicates`; the indices of ``theirs`` go on behind those of
    ``ours``.
    """
    found = _by_bytes(ours, theirs)
    found |= _by_likeness(ours, theirs, found.keys(), same)
    return [found[index] for index in sorted(found)]


def _by_bytes(ours: Fingerprints, theirs: Fingerprints) -> dict[int, Leak]:
    wanted: dict[bytes, int] = {}
    for index, digest in enumerate(theirs.digests()):
        wanted.setdefault(digest, index)
    return {
        index: Leak(ours.line(index), theirs.line(wanted[digest]), "bytes")
        for index, digest in enumerate(ours.digests())
        if digest in wanted
    }


def _by_likeness(
    ours: Fingerprints, theirs: Fingerprints, known: Container[int], same: Callable[[int, int], bool] | None
) -> dict[int, Leak]:
    """Search both together: a group with images of both is a leak of each of ours in it."""
    places: list[int] = []
    hashes: list[int] = []
    for index, likeness in ours.likenesses():
        if index not in known:
            places.append(index)
            hashes.append(likeness)
    for index, likeness in theirs.likenesses():
        places.append(len(ours) + index)
        hashes.append(likeness)
    confirmed = (lambda one, other: same(places[one], places[other])) if same else None
    found: dict[int, Leak] = {}
    for group in near_duplicates(hashes, MOST_BITS, confirmed):
        own = [places[number] for number in group if places[number] < len(ours)]
        other = [places[number] - len(ours) for number in group if places[number] >= len(ours)]
        if other:
            found |= {index: Leak(ours.line(index), theirs.line(other[0]), "likeness") for index in own}
    return found
