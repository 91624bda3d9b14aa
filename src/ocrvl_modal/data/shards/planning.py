"""Which shards a dataset comes to, before one of them is packed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ocrvl_modal.data.crew import Crew, crew_for
from ocrvl_modal.data.shards.digests import KnownFile
from ocrvl_modal.data.shards.effort import worthwhile_processes
from ocrvl_modal.data.shards.index import Split, in_order
from ocrvl_modal.data.shards.members import Member, Sizes, cut, key_of
from ocrvl_modal.data.shards.packing import Packed, Packing, encoded, pack
from ocrvl_modal.data.shards.survey import SurveyedRows


@dataclass(frozen=True)
class PlannedShard:
    """A shard that has yet to be packed. ``rows`` is the split whose rows it holds; else it holds images."""

    members: tuple[Member, ...]
    key: str
    rows: SurveyedRows | None = None

    @property
    def holds(self) -> Literal["images", "rows"]:
        """What is in it."""
        return "rows" if self.rows else "images"

    @property
    def content_bytes(self) -> int:
        """The bytes of its members."""
        return sum(member.size_bytes for member in self.members)

    def pack(self, target: Path, crew: Crew) -> Packed:
        """Write the shard to ``target``: images by a crew of :func:`packing_crew`, and rows in this process.

        Rows need as much room once more while they are written.
        """
        if self.rows is None:
            packed: Packed = crew.call("pack", encoded(self.members), str(target))
            return packed
        beside = target.with_suffix(".jsonl")
        try:
            return pack([self.rows.write_rows(beside, self.members[0].name)], target)
        finally:
            beside.unlink(missing_ok=True)


@dataclass(frozen=True)
class PackingPlan:
    """A dataset as it will lie in the store: its shards in order, those of images first; ``images`` counts them."""

    splits: Mapping[str, Split]
    shards: tuple[PlannedShard, ...]
    images: int


def plan_shards(surveyed: Mapping[str, SurveyedRows], sizes: Sizes | None = None) -> PackingPlan:
    """Return the shards of a dataset, whose splits share each image that both name.

    Images come in the order of the rows that name them first. Rows have shards of their own, one for each split, so
    that a corrected label changes no other.
    """
    order = in_order(surveyed)
    images = _once(member for name in order for member in surveyed[name].image_members())
    of_images = [PlannedShard(members, key_of(members)) for members in cut(images.values(), sizes or Sizes())]
    of_rows = [_of_rows(name, surveyed[name]) for name in order]
    splits = {name: Split(rows.rows, rows.sha256, rows.size_bytes) for name, rows in surveyed.items()}
    return PackingPlan({name: splits[name] for name in order}, (*of_images, *of_rows), len(images))


def packing_crew(shards: Sequence[PlannedShard]) -> AbstractContextManager[Crew]:
    """Return who packs so many shards, for the length of a block: several processes where there is enough to do."""
    of_images = [shard for shard in shards if shard.rows is None]
    members, size = sum(len(shard.members) for shard in of_images), sum(shard.content_bytes for shard in of_images)
    return crew_for(Packing(), worthwhile_processes(members, size, len(of_images)))


def _once(members: Iterator[Member]) -> dict[str, Member]:
    """Return members by their digests, each content once."""
    found: dict[str, Member] = {}
    for member in members:
        found.setdefault(member.sha256, member)
    return found


def _of_rows(name: str, rows: SurveyedRows) -> PlannedShard:
    packed = KnownFile(rows.path, rows.sha256, "", rows.stamp._replace(size_bytes=rows.size_bytes), settled=False)
    member = Member(packed, f"{name}.jsonl")
    return PlannedShard((member,), key_of((member,)), rows)
