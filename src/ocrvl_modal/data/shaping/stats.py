"""A dataset in numbers: its tasks and sources, its tokens and pixels, its scripts, and how it fills sequences."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ocrvl_modal.data.checking.lengths import CountMany
from ocrvl_modal.data.shaping.histograms import Histogram, histogram
from ocrvl_modal.data.shaping.measuring import MeasuredRow, measured
from ocrvl_modal.data.shaping.packing import Packing, best_fit, in_order
from ocrvl_modal.data.shaping.rows_in_file import count_lines, read_rows
from ocrvl_modal.data.shaping.scripts import by_script, without_marks
from ocrvl_modal.data.shaping.tasks import task_name
from ocrvl_modal.errors import data_error
from ocrvl_modal.models import MERGED_PATCH_PIXELS, FamilyMember

OnProgress = Callable[[str, int, int], None]

_MOST_SOURCES = 1000
_OTHER_SOURCES = "(others)"


@dataclass(frozen=True)
class TaskNumbers:
    """The samples of one task, their tokens in all, and how many samples are over ``max_seq_len``."""

    samples: int
    vision_tokens: int
    text_tokens: int
    too_long: int

    @property
    def tokens(self) -> int:
        """The tokens of images and text together."""
        return self.vision_tokens + self.text_tokens


@dataclass(frozen=True)
class DatasetStats:
    """What a dataset file holds, seen by one model.

    All numbers are of its ``samples``. ``refused_rows`` are no samples and ``refused_images`` cannot be used; the
    first of each is told in ``first_refused``. ``pixels`` are those of the files, ``resized_pixels`` those after the
    model's image processor, which made ``shrunk`` images smaller and ``enlarged`` ones larger. Where no tokenizer
    counted the text (``tokens_counted``), text tokens are an estimate from above: one a character.
    """

    path: Path
    model: str
    max_seq_len: int
    samples: int
    refused_rows: int
    refused_images: int
    first_refused: tuple[str, ...]
    tasks: Mapping[str, TaskNumbers]
    sources: Mapping[str, int]
    scripts: Mapping[str, int]
    vision_tokens: Histogram
    text_tokens: Histogram
    sequence_tokens: Histogram
    pixels: Histogram
    resized_pixels: Histogram
    shrunk: int
    enlarged: int
    tokens_counted: bool
    packing_in_order: Packing
    packing_best_fit: Packing

    @property
    def too_long(self) -> int:
        """The samples that are longer than ``max_seq_len``."""
        return sum(task.too_long for task in self.tasks.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as they stand in JSON output."""
        return {
            "path": str(self.path),
            "model": self.model,
            "max_seq_len": self.max_seq_len,
            "samples": self.samples,
            "refused": {"rows": self.refused_rows, "images": self.refused_images, "first": list(self.first_refused)},
            "tasks": {
                name: {
                    "samples": task.samples,
                    "vision_tokens": task.vision_tokens,
                    "text_tokens": task.text_tokens,
                    "too_long": task.too_long,
                }
                for name, task in self.tasks.items()
            },
            "sources": dict(self.sources),
            "scripts": dict(self.scripts),
            "vision_tokens": self.vision_tokens.to_dict(),
            "text_tokens": self.text_tokens.to_dict(),
            "sequence_tokens": self.sequence_tokens.to_dict(),
            "tokens_counted": self.tokens_counted,
            "pixels": self.pixels.to_dict(),
            "resized_pixels": self.resized_pixels.to_dict(),
            "shrunk": self.shrunk,
            "enlarged": self.enlarged,
            "too_long": self.too_long,
            "packing": {
                "formula": "tokens / (packs * max_seq_len)",
                "in_order": self.packing_in_order.to_dict(),
                "best_fit": self.packing_best_fit.to_dict(),
            },
        }


def dataset_stats(
    path: Path,
    member: FamilyMember,
    max_seq_len: int,
    *,
    count_many: CountMany | None = None,
    on_progress: OnProgress | None = None,
) -> DatasetStats:
    """Read all rows and the headers of all images of a file, and return it in numbers; a few are kept of each row.

    ``count_many`` is the model's tokenizer, where it is here. Raises *not found* where there is no file, and a data
    error where not one sample is in it; rows that are no samples are counted.
    """
    gathered = _Gathered(max_seq_len)
    total = count_lines(path) if path.is_file() else 0
    for number, row in enumerate(measured(read_rows(path, gathered.refuse_row), member, count_many), start=1):
        gathered.add(row)
        if on_progress:
            on_progress("measuring samples", number, max(total, number))
    if not gathered.vision:
        raise data_error(
            f"{path} has no sample to measure: {'; '.join(gathered.first_refused) or 'it is empty'}",
            f"ocrvl data check {path}",
        )
    return gathered.stats(path, member, counted=count_many is not None)


class _Gathered:
    """Sums up, row by row; what a histogram needs is kept as plain numbers."""

    def __init__(self, max_seq_len: int) -> None:
        self.max_seq_len = max_seq_len
        self.vision, self.text, self.pixels = array("L"), array("L"), array("Q")
        self.first_refused: list[str] = []
        self._refused_rows = self._refused_images = self._shrunk = self._enlarged = 0
        self._tasks: dict[str, Counter[str]] = {}
        self._sources: Counter[str] = Counter()
        self._characters: Counter[str] = Counter()

    def refuse_row(self, why: str) -> None:
        if not self._refused_rows:
            self.first_refused.append(why)
        self._refused_rows += 1

    def add(self, measured_row: MeasuredRow) -> None:
        row, look = measured_row.row, measured_row.look
        if measured_row.trouble:
            if not self._refused_images:
                self.first_refused.append(f"line {row.sample.line}: {measured_row.trouble}")
            self._refused_images += 1
            return
        pixels = look.width * look.height
        resized = look.vision_tokens * MERGED_PATCH_PIXELS**2
        self.vision.append(look.vision_tokens)
        self.text.append(measured_row.text_tokens)
        self.pixels.append(pixels)
        # Sides are rounded to multiples of 28; what changes the area by no more is no change of scale.
        self._shrunk += resized < pixels * 0.9
        self._enlarged += resized > pixels * 1.1
        task = self._tasks.setdefault(task_name(row.sample.prompt), Counter())
        task["samples"] += 1
        task["vision"] += look.vision_tokens
        task["text"] += measured_row.text_tokens
        task["too_long"] += measured_row.tokens > self.max_seq_len
        source = PurePosixPath(row.name).parent.as_posix()
        known = source in self._sources or len(self._sources) < _MOST_SOURCES
        self._sources[source if known else _OTHER_SOURCES] += 1
        self._characters.update(without_marks(row.sample.target))

    def stats(self, path: Path, member: FamilyMember, *, counted: bool) -> DatasetStats:
        sequences = array("L", map(sum, zip(self.vision, self.text, strict=True)))
        tasks = {
            name: TaskNumbers(task["samples"], task["vision"], task["text"], task["too_long"])
            for name, task in sorted(self._tasks.items(), key=lambda item: -item[1]["samples"])
        }
        return DatasetStats(
            path=path,
            model=member.name,
            max_seq_len=self.max_seq_len,
            samples=len(self.vision),
            refused_rows=self._refused_rows,
            refused_images=self._refused_images,
            first_refused=tuple(self.first_refused),
            tasks=tasks,
            sources=dict(self._sources.most_common()),
            scripts=by_script(self._characters),
            vision_tokens=histogram(self.vision),
            text_tokens=histogram(self.text),
            sequence_tokens=histogram(sequences),
            pixels=histogram(self.pixels),
            resized_pixels=histogram(array("Q", (tokens * MERGED_PATCH_PIXELS**2 for tokens in self.vision))),
            shrunk=self._shrunk,
            enlarged=self._enlarged,
            tokens_counted=counted,
            packing_in_order=in_order(sequences, self.max_seq_len),
            packing_best_fit=best_fit(sequences, self.max_seq_len),
        )
