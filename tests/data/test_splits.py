"""Images that two files share are told, by their bytes or by their looks, with their lines."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from ocrvl_modal.data.checking.likeness import BITS
from ocrvl_modal.data.checking.splits import Fingerprints, Leak, leaks


@pytest.fixture
def chance() -> Random:
    return Random(8)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def fingerprints(*images: tuple[int, str, int | None]) -> Fingerprints:
    made = Fingerprints()
    for line, name, likeness in images:
        made.add(line, digest(name), likeness)
    return made


def test_the_same_bytes_leak_once_with_the_first_line_there(chance: Random) -> None:
    likeness = chance.getrandbits(BITS)
    ours = fingerprints((1, "a", likeness), (2, "b", None), (5, "c", None))
    theirs = fingerprints((3, "b", None), (4, "a", likeness), (9, "a", likeness))
    assert leaks(ours, theirs) == [Leak(1, 4, "bytes"), Leak(2, 3, "bytes")]


def test_what_looks_the_same_leaks_too(chance: Random) -> None:
    likeness = chance.getrandbits(BITS)
    ours = fingerprints((1, "a", None), (2, "b", likeness), (3, "c", chance.getrandbits(BITS)))
    theirs = fingerprints((1, "x", chance.getrandbits(BITS)), (7, "y", likeness ^ 0b101))
    assert leaks(ours, theirs) == [Leak(2, 7, "likeness")]


def test_likenesses_can_be_refused_by_whoever_looks_closer(chance: Random) -> None:
    likeness = chance.getrandbits(BITS)
    asked: list[tuple[int, int]] = []

    def refuse(one: int, other: int) -> bool:
        asked.append((min(one, other), max(one, other)))
        return False

    ours = fingerprints((1, "a", None), (2, "b", likeness))
    theirs = fingerprints((1, "x", None), (7, "y", likeness))
    assert leaks(ours, theirs, refuse) == []
    # The second of ours, and the second of theirs behind both of ours.
    assert set(asked) == {(1, 3)}


def test_what_one_file_repeats_is_no_leak(chance: Random) -> None:
    likeness = chance.getrandbits(BITS)
    ours = fingerprints((1, "a", likeness), (2, "a", likeness))
    assert leaks(ours, fingerprints((1, "x", None))) == []
    assert leaks(fingerprints(), fingerprints()) == []


def test_fingerprints_give_back_what_was_put_in(chance: Random) -> None:
    values = [chance.getrandbits(BITS) | grid << BITS for grid in (0, 4)]
    made = fingerprints((3, "a", values[0]), (4, "b", None), (1 << 40, "c", values[1]))
    assert len(made) == 3
    assert list(made.likenesses()) == [(0, values[0]), (2, values[1])]
    assert [made.line(index) for index in range(3)] == [3, 4, 1 << 40]
    assert list(made.digests()) == [bytes.fromhex(digest(name))[:16] for name in "abc"]
