"""The dataset that comes out: rows, images, and a list of everything that did not come along."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal

from ocrvl_modal.data.converting.items import Dropped, Picture, Unusable
from ocrvl_modal.data.converting.reading import ending_of, ending_of_file
from ocrvl_modal.data.forms import RowFormat, write_row
from ocrvl_modal.data.schema import ImageUse, Row, Turn

ImagesMode = Literal["copy", "link", "reference"]
IMAGES_MODES: tuple[ImagesMode, ...] = ("copy", "link", "reference")

ROWS, IMAGES, DROPPED = "train.jsonl", "images", "dropped.jsonl"

_IN_A_FOLDER = 1000
_LONGEST_STEM = 60
_REMEMBERED = 4096
_EXAMPLES = 3


class DatasetWriter:
    """Writes a dataset into a folder, row by row; use it in a ``with`` block."""

    def __init__(self, folder: Path, form: RowFormat, images: ImagesMode) -> None:
        self.by_task: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.examples: list[Dropped] = []
        self._folder = folder
        self._form = form
        self._images = images
        self._written = 0
        self._kept: dict[Path, str] = {}
        self._files = ExitStack()

    def __enter__(self) -> DatasetWriter:
        self._rows = self._files.enter_context((self._folder / ROWS).open("w", encoding="utf-8"))
        self._left_out = self._files.enter_context((self._folder / DROPPED).open("w", encoding="utf-8"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    @property
    def samples(self) -> int:
        """How many rows were written."""
        return sum(self.by_task.values())

    def add(self, picture: Picture, task: str, prompt: str, target: str) -> None:
        """Write a sample; raise :class:`Unusable` where its image cannot be had."""
        turns = (Turn("user", prompt, learned=False), Turn("assistant", target, learned=True))
        self.add_row(Row(turns, (ImageUse(self.keep(picture), 0),)), task)

    def add_row(self, row: Row, task: str) -> None:
        """Write a row; raise a data error where the form cannot say it."""
        self._rows.write(write_row(row, self._form) + "\n")
        self.by_task[task] += 1

    def drop(self, dropped: Dropped) -> None:
        """List something that gave no sample."""
        self.dropped[dropped.reason] += 1
        if self.dropped[dropped.reason] <= _EXAMPLES:
            self.examples.append(dropped)
        line = json.dumps(asdict(dropped), ensure_ascii=False)
        self._left_out.write(line.encode("utf-8", "replace").decode() + "\n")

    def keep(self, picture: Picture) -> str:
        """Give an image its place, and return how a row names it; raise :class:`Unusable` where it is no image.

        A file that was kept a short while ago is not kept twice.
        """
        if picture.url:
            return picture.url
        if picture.content is not None:
            path = self._place(picture.name, ending_of(picture.content))
            path.write_bytes(picture.content)
            return self._named(path)
        if picture.file is None:
            raise Unusable("image_missing", "there is no image")
        if picture.file not in self._kept:
            if len(self._kept) >= _REMEMBERED:
                self._kept.clear()
            self._kept[picture.file] = self._keep_file(picture.name, picture.file)
        return self._kept[picture.file]

    def _keep_file(self, name: str, file: Path) -> str:
        ending = ending_of_file(file)
        if self._images == "reference":
            return str(file.resolve())
        path = self._place(name, ending)
        if self._images == "copy" or not _linked(file, path):
            shutil.copyfile(file, path)
        return self._named(path)

    def _place(self, name: str, ending: str) -> Path:
        """Return a path that no other image has: it begins with a number, so that no list of names need be kept."""
        stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(name.replace("\\", "/")).stem).strip("._-")[:_LONGEST_STEM]
        number = self._written
        self._written += 1
        folder = self._folder / IMAGES / f"{number // _IN_A_FOLDER:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{number:06d}{'-' if stem else ''}{stem}{ending}"

    def _named(self, path: Path) -> str:
        return f"./{path.relative_to(self._folder).as_posix()}"


def _linked(file: Path, path: Path) -> bool:
    """Give a file a second name where the file system can."""
    try:
        os.link(file.resolve(), path)
    except OSError:
        return False
    return True
