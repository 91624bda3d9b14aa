"""How a stored dataset is named: ``lines@v2``, ``lines@v2/test``, or ``lines`` for its newest version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.data.shards.index import DATASETS, INDEX, SPLIT, WORD
from ocrvl_modal.errors import usage_error

_REFERENCE = re.compile(rf"(?P<name>{WORD})(?:@(?P<version>{WORD})(?:/(?P<split>{SPLIT}))?)?")
_PLACE = re.compile(rf"{DATASETS}/(?P<name>{WORD})/(?P<version>{WORD})/(?P<split>{SPLIT})\.jsonl")


@dataclass(frozen=True)
class DatasetReference:
    """One split of a stored dataset; without a ``version``, of its newest."""

    name: str
    version: str | None
    split: str = "train"

    @property
    def index_place(self) -> str:
        """Where the index of the version lies."""
        return f"{DATASETS}/{self.name}/{self.version}/{INDEX}"

    def __str__(self) -> str:
        version = f"@{self.version}" if self.version else ""
        return f"{self.name}{version}" + (f"/{self.split}" if self.split != "train" else "")


def parse_reference(text: str) -> DatasetReference | None:
    """Return what a text names, as a name or as the place of its rows; ``None`` for a path of another kind.

    A file may lie at that path all the same, and goes first.
    """
    match = _PLACE.fullmatch(text) or (None if text.endswith(".jsonl") else _REFERENCE.fullmatch(text))
    return DatasetReference(match["name"], match["version"], match["split"] or "train") if match else None


def is_stored(text: str) -> bool:
    """Say whether a text can only name a stored dataset: nothing of that name lies here."""
    return parse_reference(text) is not None and not Path(text).exists()


def check_word(word: str, what: str) -> str:
    """Return a ``name`` or a ``version``; raise a usage error for one that could not be asked for again."""
    if not re.fullmatch(WORD, word) or word.endswith(".jsonl"):
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", word.removesuffix(".jsonl")).strip("-._")[:64]
        raise usage_error(
            f"'{word}' cannot be the {what} of a dataset: letters, digits, '.', '_' and '-', at most 64",
            f"--{what} {safe or 'lines'}",
        )
    return word


def name_for(path: Path) -> str:
    """Return a name for the dataset in a file or a folder: the folder's, where the file's own says nothing."""
    path = path.absolute()
    says_nothing = path.stem in {"train", "validation", "test", "data"} and path.parent.name
    name = path.parent.name if says_nothing else path.stem if path.suffix == ".jsonl" else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:40] or "dataset"
