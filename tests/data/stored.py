"""Datasets of a few bytes to store, and a store to put them into."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.backends.dataset_pull import pull
from ocrvl_modal.backends.dataset_push import Asked, Desk, FindDamaged, Pushed, push
from ocrvl_modal.backends.store_folder import FolderStores
from ocrvl_modal.data.shards.index import DatasetIndex
from ocrvl_modal.places import Places


def tell_nobody(_what: str, _done: int, _total: int) -> None:
    """No progress."""


def row(image: str, target: str) -> dict[str, object]:
    """One sample in the form of PaddleFormers."""
    return {
        "messages": [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": target}],
        "images": [image],
    }


def write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    """Write a dataset of (image, target)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row(*one)) + "\n" for one in rows), encoding="utf-8")
    return path


def write_image(path: Path, seed: int, size: int = 2000) -> Path:
    """Write bytes that begin as a PNG does; the same seed gives the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG" + random.Random(seed).randbytes(size))
    return path


def make_dataset(folder: Path, train: Iterable[int] = range(4), **others: Iterable[int]) -> dict[str, Path]:
    """Make a dataset whose splits have a sample for each seed, with an image of its own."""
    made = {}
    for split, seeds in {"train": train, **others}.items():
        names = [(write_image(folder / "scans" / f"{seed}.png", seed), f"text {seed}") for seed in seeds]
        made[split] = write_rows(folder / f"{split}.jsonl", [(f"scans/{path.name}", text) for path, text in names])
    return made


def files_of(folder: Path) -> dict[str, bytes]:
    """The files at and below a folder, by their paths there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@dataclass(frozen=True)
class Shelf:
    """A data store under a home, and a machine that pushes to it."""

    home: Path

    @property
    def places(self) -> Places:
        return Places.under(self.home)

    @property
    def stores(self) -> FolderStores:
        return FolderStores(self.places)

    @property
    def desk(self) -> Desk:
        return Desk.under(self.home)

    def push(
        self, files: Mapping[str, Path], name: str = "lines", version: str | None = None, *, automatic: bool = False
    ) -> Pushed:
        return push(self.stores, files, Asked(name, version, automatic), self.desk, tell_nobody)

    def push_verified(self, files: Mapping[str, Path], find_damaged: FindDamaged) -> Pushed:
        return push(self.stores, files, Asked("lines"), self.desk, tell_nobody, find_damaged)

    def pull(self, index: DatasetIndex, out: Path) -> dict[str, bytes]:
        pull(self.stores, index, out, tell_nobody)
        return files_of(out)

    def shard(self, index: DatasetIndex, number: int = 0) -> Path:
        """A shard's file in the store."""
        return self.places.resolve(index.shards[number].place)
