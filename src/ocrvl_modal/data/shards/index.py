"""The index of a stored dataset: its splits, and the shards that hold it, in the order in which they were packed.

``/data/datasets/<name>/<version>/dataset.json`` is the index, ``/data/shards/<aa>/<sha256>.tar`` a shard. Each is a
plain tar file: all shards of a dataset, unpacked into one folder, are a dataset that trains (``train.jsonl``,
``images/<sha256>.png``). The index is written last, so that what it names is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import msgspec

from ocrvl_modal.errors import OcrvlError

STORE = "/data"
SHARDS = f"{STORE}/shards"
DATASETS = f"{STORE}/datasets"
INDEX = "dataset.json"
CLAIMS = f"{DATASETS}/.pushing"
"""Holds a file for each push that is at work: there may be shards then that no index names yet."""
USED = ".used"
"""Beside the index of a dataset that was pushed for a run, written anew whenever it is used again."""

WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""The name of a dataset, or of a version, as a regular expression."""
SPLIT = r"[a-z][a-z0-9_-]*"
"""The name of a split."""

SCHEMA = 1

# Places are made of these: an index that somebody made up must not lead elsewhere.
Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Word = Annotated[str, msgspec.Meta(pattern=rf"\A{WORD}\Z")]
SplitName = Annotated[str, msgspec.Meta(pattern=rf"\A{SPLIT}\Z")]

_ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """A file of rows. ``sha256`` is that of the file as it is packed: its images' names are their own digests."""

    rows: int
    sha256: Digest
    size_bytes: int


@dataclass(frozen=True)
class Shard:
    """A tar file of the store. ``key`` tells its members, and with them its bytes, before it is packed."""

    sha256: Digest
    size_bytes: int
    members: int
    holds: Literal["images", "rows"]
    key: Digest

    @property
    def place(self) -> str:
        """Where it lies in the store."""
        return place_of_shard(self.sha256)


@dataclass(frozen=True)
class DatasetIndex:
    """The content of ``dataset.json``.

    ``images`` counts them, each once; ``automatic`` says that nobody asked for the dataset by name: it was pushed for a
    run.
    """

    name: Word
    version: Word
    splits: Mapping[SplitName, Split]
    shards: tuple[Shard, ...]
    images: int
    made_by: str
    pushed_at: str
    automatic: bool = False
    schema: int = SCHEMA

    @property
    def digest(self) -> str:
        """The digest of all that the dataset holds; the same on every machine, whatever its name."""
        return content_digest({name: split.sha256 for name, split in self.splits.items()})

    @property
    def size_bytes(self) -> int:
        """The bytes of all shards."""
        return sum(shard.size_bytes for shard in self.shards)

    @property
    def place(self) -> str:
        """The folder of its index."""
        return f"{DATASETS}/{self.name}/{self.version}"

    @property
    def reference(self) -> str:
        """Its name as commands and recipes take it."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> bytes:
        """Return the index as it is written."""
        return msgspec.json.format(msgspec.json.encode(asdict(self)), indent=2) + b"\n"


def place_of_shard(sha256: str) -> str:
    """Return where the shard of that digest lies in the store."""
    return f"{SHARDS}/{sha256[:2]}/{sha256}.tar"


def content_digest(splits: Mapping[str, str]) -> str:
    """Return the digest of a dataset from those of its splits' rows."""
    text = "".join(f"{name} {splits[name]}\n" for name in in_order(splits))
    return hashlib.sha256(text.encode()).hexdigest()


def in_order(splits: Iterable[str]) -> list[str]:
    """Return names of splits in the order in which they are packed: train, validation, test, then others by name."""
    return sorted(splits, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def parse_index(content: bytes, origin: str) -> DatasetIndex:
    """Read an index; raise an error that names ``origin`` where it is none, or a newer one than we know."""
    try:
        index = msgspec.json.decode(content, type=DatasetIndex)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise OcrvlError(f"{origin} cannot be read: {error}", "ocrvl data push writes it anew") from error
    if index.schema > SCHEMA:
        raise OcrvlError(f"{origin} was written by a newer ocrvl ({index.made_by})", "pip install -U ocrvl-modal")
    return index
