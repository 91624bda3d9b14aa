"""What lies in a shard: which names it may have, and where one shard ends and the next begins.

A shard ends at a member whose own digest says so, once it is large enough: samples that are added or removed then
change only the shards near them, and all others lie in the store already.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ocrvl_modal.data.shards.digests import KnownFile

BLOCK_BYTES = 512
IMAGES = "images"

_FORMAT = "ocrvl shard 1"
_MEMBER = re.compile(r"images/[0-9a-f]{64}(\.[a-z0-9]{1,8})?|[a-z][a-z0-9_-]*\.jsonl")
_CHANCE_LETTERS = 13


class Member(msgspec.Struct, frozen=True, gc=False):
    """A file that goes into a shard. ``rows`` is its name there where it holds rows; an image's is told by its content.

    There may be millions: all else is told by ``file``, which is there anyway.
    """

    file: KnownFile
    rows: str = ""

    @property
    def name(self) -> str:
        """Its name in the shard."""
        return self.rows or image_name(self.file)

    @property
    def sha256(self) -> str:
        """The digest of its content."""
        return self.file.sha256

    @property
    def size_bytes(self) -> int:
        """The size of its content."""
        return self.file.stamp.size_bytes

    @property
    def packed_bytes(self) -> int:
        """What it takes in a tar file: a header, and the content in whole blocks."""
        return BLOCK_BYTES + -(-self.size_bytes // BLOCK_BYTES) * BLOCK_BYTES


@dataclass(frozen=True)
class Sizes:
    """How large shards are to be, in bytes.

    Only a single member that is larger makes a shard that is larger than ``most``, and only what comes before such a
    member, or last in a dataset, one that is smaller than ``least``.
    """

    least: int = 16 << 20
    average: int = 64 << 20
    most: int = 160 << 20


def image_name(image: KnownFile) -> str:
    """Return an image's name in a shard. It depends on nothing but the content, so that nothing is packed twice."""
    return f"{IMAGES}/{image.sha256}{image.ending}"


def is_member_name(name: str) -> bool:
    """Say whether a shard may hold a file of that name; no other is ever unpacked."""
    return _MEMBER.fullmatch(name) is not None


def cut(members: Iterable[Member], sizes: Sizes) -> Iterator[tuple[Member, ...]]:
    """Yield the members of each shard."""
    shard: list[Member] = []
    size = 0
    for member in members:
        if shard and size + member.packed_bytes > sizes.most:
            yield tuple(shard)
            shard, size = [], 0
        shard.append(member)
        size += member.packed_bytes
        if size >= sizes.least and _ends_a_shard(member, sizes):
            yield tuple(shard)
            shard, size = [], 0
    if shard:
        yield tuple(shard)


def key_of(members: Sequence[Member]) -> str:
    """Return what tells the bytes of a shard before it is packed: its members' names, digests and sizes, in order."""
    text = "".join(f"{member.name} {member.sha256} {member.size_bytes}\n" for member in members)
    return hashlib.sha256(f"{_FORMAT}\n{text}".encode()).hexdigest()


def _ends_a_shard(member: Member, sizes: Sizes) -> bool:
    """Decide by the member alone, with a chance as large as its share of what a shard is to hold beyond the least."""
    chance = int(member.sha256[-_CHANCE_LETTERS:], 16) / (1 << 4 * _CHANCE_LETTERS)
    return member.packed_bytes > chance * (sizes.average - sizes.least)
