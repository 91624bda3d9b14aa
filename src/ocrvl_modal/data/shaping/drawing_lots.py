"""Shares in whole rows, and which rows get them: the same on every machine, and whatever stands around a row."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from typing import TypeVar

_Key = TypeVar("_Key")


def lot(seed: int, *words: str) -> int:
    """Return the 64 bits that a thing draws: rows with the lowest are taken first."""
    told = "\n".join((str(seed), *words)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")


def apportioned(weights: Mapping[_Key, float], seats: int) -> dict[_Key, int]:
    """Return ``seats`` divided in proportion to ``weights``, the largest remainders rounded up."""
    whole = sum(weights.values())
    exact = {key: seats * weight / whole for key, weight in weights.items()}
    given = {key: int(share) for key, share in exact.items()}
    by_remainder = sorted(exact, key=lambda key: given[key] - exact[key])
    for key in by_remainder[: seats - sum(given.values())]:
        given[key] += 1
    return given


def apportioned_with_one_each(sizes: Mapping[_Key, int], seats: int) -> dict[_Key, int]:
    """Return ``seats`` divided in proportion to ``sizes``, one at least for each while they last, the largest first.

    None gets more than its size.
    """
    if seats >= sum(sizes.values()):
        return dict(sizes)
    if seats <= len(sizes):
        largest = sorted(sizes, key=lambda key: -sizes[key])[:seats]
        return dict.fromkeys(largest, 1)
    left = {key: size - 1 for key, size in sizes.items()}
    more = apportioned(left, seats - len(sizes))
    return {key: 1 + more[key] for key in sizes}


def lowest(lots: Sequence[int], places: Sequence[int], count: int) -> list[int]:
    """Return the ``count`` places that drew the lowest lots, in their order."""
    return sorted(heapq.nsmallest(count, places, key=lambda place: (lots[place], place)))
