"""Which split a group goes to: told by its own name and the seed, never by what else is in the dataset.

A group's name gives a number from 0 to 1, and the shares cut that range into three. So each group of every task falls
to a split with that split's share for its chance, and a row that is added later moves no other. What that cannot give
is exact shares: those of ``n`` groups are off by about ``sqrt(share * (1 - share) / n)``. Where a small task misses a
split altogether, another seed, chosen once, mends it and stays stable from then on: see :func:`better_seed`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ocrvl_modal.errors import usage_error

SPLITS = ("train", "validation", "test")
_RANGE = 1 << 64
_SEEDS_TRIED = 50


@dataclass(frozen=True)
class Shares:
    """The part of the groups that each split should get; they add up to 1."""

    train: float
    validation: float
    test: float

    @classmethod
    def of(cls, train: float | None, validation: float, test: float) -> Shares:
        """Return the shares asked for; ``train`` gets what the others leave where it is not given.

        Raises a usage error where a share is negative, train gets nothing, or they do not add up to 1.
        """
        rest = round(1 - validation - test, 9)
        asked = rest if train is None else train
        # Put so that what is no number fails it too.
        if not (min(validation, test) >= 0 and asked > 0 and abs(asked - rest) <= 1e-6):
            given = " + ".join(f"{share:g}" for share in (asked, validation, test))
            raise usage_error(
                f"the shares of train, validation and test are {given}: they must add up to 1, and train gets some",
                "--train 0.8 --validation 0.1 --test 0.1",
            )
        return cls(asked, validation, test)

    def to_dict(self) -> dict[str, float]:
        """Return the share of each split, by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def split_at(self, point: float) -> str:
        """Return the split that a number from 0 to 1 falls to; the test rows stay when validation's share changes."""
        if point < self.test:
            return "test"
        return "validation" if point < self.test + self.validation else "train"


def group_number(name: str) -> int:
    """Return 64 bits that stand for a group's name."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Links:
    """Groups that must stay together although their names differ, since they share an image."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def join(self, one: int, other: int) -> None:
        """Keep two groups together."""
        first, second = self._root(one), self._root(other)
        if first != second:
            self._parent[max(first, second)] = min(first, second)

    def together(self) -> list[list[int]]:
        """Return the groups that are linked, directly or by others between them."""
        found: dict[int, list[int]] = defaultdict(list)
        for group in self._parent:
            found[self._root(group)].append(group)
        return [sorted([root, *members]) for root, members in found.items()]

    def _root(self, group: int) -> int:
        while (above := self._parent.get(group, group)) != group:
            self._parent[group] = group = self._parent.get(above, above)
        return group


class Assignment:
    """The split of each group, for one seed.

    Linked groups follow the one among them that a second number picks. So a group that gets linked to others later
    may move with them, once: of two splits that come to share an image, one has to give way.
    """

    def __init__(self, shares: Shares, seed: int, linked: Iterable[Iterable[int]] = ()) -> None:
        self._shares = shares
        self._seed = str(seed).encode()
        self._speaker: dict[int, int] = {}
        for groups in linked:
            members = list(groups)
            speaker = min(members, key=lambda group: self._number(group, b"speaker"))
            self._speaker.update(dict.fromkeys(members, speaker))

    def block_of(self, group: int) -> int:
        """Return the group that speaks for this one and all that are linked to it."""
        return self._speaker.get(group, group)

    def split_of(self, group: int) -> str:
        """Return the name of the group's split."""
        return self._shares.split_at(self._number(self.block_of(group), b"split") / _RANGE)

    def _number(self, group: int, purpose: bytes) -> int:
        told = purpose + b"\n" + self._seed + b"\n" + group.to_bytes(8, "little")
        return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little")


Counts = Mapping[str, Mapping[str, int]]
"""Rows, by split and then by task."""


def lacking(counts: Counts, shares: Shares) -> list[tuple[str, str]]:
    """Return each split, with a share, and each task of which it got no row although another split did."""
    wanted = [split for split, share in shares.to_dict().items() if share > 0]
    tasks = sorted({task for split in wanted for task in counts[split]})
    return [(split, task) for split in wanted for task in tasks if not counts[split].get(task)]


def deviation(counts: Counts, shares: Shares) -> float:
    """Return how far the rows are from the shares: the part of the rows that lies in another split, mean of tasks."""
    tasks = {task for by_task in counts.values() for task in by_task}
    total = 0.0
    for task in tasks:
        rows = {split: counts[split].get(task, 0) for split in SPLITS}
        of_task = sum(rows.values())
        total += sum(abs(rows[split] / of_task - share) for split, share in shares.to_dict().items()) / 2
    return total / len(tasks) if tasks else 0.0


def better_seed(
    rows: Mapping[int, Mapping[str, int]], linked: Iterable[Iterable[int]], shares: Shares, seed: int
) -> int | None:
    """Return the seed, of the first fifty, under which every task has rows in every split and the shares are nearest.

    ``rows`` counts the rows of each group by task. ``None`` where none is better than ``seed``.
    """
    blocks = [list(groups) for groups in linked]

    def judged(candidate: int) -> tuple[int, float]:
        assignment = Assignment(shares, candidate, blocks)
        counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        for group, by_task in rows.items():
            counts[assignment.split_of(group)].update(by_task)
        return len(lacking(counts, shares)), deviation(counts, shares)

    best = min(range(_SEEDS_TRIED), key=judged)
    return best if judged(best)[0] < judged(seed)[0] else None
