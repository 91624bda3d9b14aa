"""A small dataset that stands for a large one: of every task, script and length, in proportion."""

from __future__ import annotations

import shlex
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.data.rows import require_file
from ocrvl_modal.data.shaping.drawing_lots import apportioned_with_one_each, lot, lowest
from ocrvl_modal.data.shaping.rows_in_file import count_lines, read_rows, relocated
from ocrvl_modal.data.shaping.scripts import main_script
from ocrvl_modal.data.shaping.tasks import task_name
from ocrvl_modal.errors import usage_error

OnProgress = Callable[[str, int, int], None]
Stratum = tuple[str, str, int]
"""A task, a script, and a class of lengths: each begins at four times as many characters as the one before."""


@dataclass(frozen=True)
class SampleReport:
    """Which rows were taken: how many of how many, by task and by script; ``strata`` counts the kinds of rows."""

    file: Path
    source: Path
    seed: int
    rows: int
    taken: int
    strata: int
    strata_taken: int
    tasks: Mapping[str, tuple[int, int]]
    scripts: Mapping[str, tuple[int, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "file": str(self.file),
            "source": str(self.source),
            "seed": self.seed,
            "rows": self.rows,
            "taken": self.taken,
            "strata": self.strata,
            "strata_taken": self.strata_taken,
            "tasks": {name: {"taken": taken, "of": of} for name, (taken, of) in self.tasks.items()},
            "scripts": {name: {"taken": taken, "of": of} for name, (taken, of) in self.scripts.items()},
        }


def sample_dataset(
    path: Path, out: Path, count: int, *, seed: int = 0, force: bool = False, on_progress: OnProgress | None = None
) -> SampleReport:
    """Write ``count`` rows of a file, in its order, to the file ``out``: all where it has no more.

    Each kind of row (a task, a script, a class of lengths) gets its share, and at least one row while they last.
    Which rows stand for their kind is told by the rows themselves and ``seed``. Raises *not found* where there is no
    file, a data error for a row that is no sample, and a usage error where ``out`` is there already, but with
    ``force``.
    """
    require_file(path)
    _require_free(path, out, force)
    strata, lots, names = _surveyed(path, seed, on_progress)
    places: dict[int, array[int]] = defaultdict(lambda: array("L"))
    for place, stratum in enumerate(strata):
        places[stratum].append(place)
    seats = apportioned_with_one_each({stratum: len(members) for stratum, members in places.items()}, count)
    chosen = {place for stratum, seat in seats.items() for place in lowest(lots, places[stratum], seat)}
    source, target = path.absolute().parent.resolve(), out.absolute().parent.resolve()
    with files.new_file(out) as beside, beside.open("w", encoding="utf-8") as stream:
        for place, row in enumerate(read_rows(path)):
            if place in chosen:
                stream.write(relocated(row.text, source, target) + "\n")
    taken = Counter({names[stratum]: seat for stratum, seat in seats.items()})
    whole = Counter({names[stratum]: len(members) for stratum, members in places.items()})
    return SampleReport(
        out, path, seed, len(strata), len(chosen), len(whole), len(taken), _by(0, taken, whole), _by(1, taken, whole)
    )


def _require_free(path: Path, out: Path, force: bool) -> None:
    if out.is_dir():
        raise usage_error(f"{out} is a folder", f"--out {shlex.quote(str(out / 'sample.jsonl'))}")
    if out.exists() and out.samefile(path):
        raise usage_error(f"{out} is the dataset itself", "--out sample.jsonl")
    if out.exists() and not force:
        raise usage_error(f"{out} is there already", "add --force to replace it")


def _surveyed(
    path: Path, seed: int, on_progress: OnProgress | None
) -> tuple[array[int], array[int], dict[int, Stratum]]:
    total = count_lines(path)
    numbers: dict[Stratum, int] = {}
    strata, lots = array("L"), array("Q")
    for row in read_rows(path):
        sample = row.sample
        length = (len(sample.target).bit_length() - 1) // 2
        stratum = (task_name(sample.prompt), main_script(sample.target), length)
        strata.append(numbers.setdefault(stratum, len(numbers)))
        lots.append(lot(seed, row.name, sample.prompt, sample.target))
        if on_progress:
            on_progress("reading rows", len(strata), max(total, len(strata)))
    return strata, lots, {number: stratum for stratum, number in numbers.items()}


def _by(part: int, taken: Mapping[Stratum, int], whole: Mapping[Stratum, int]) -> dict[str, tuple[int, int]]:
    of: Counter[str] = Counter()
    got: Counter[str] = Counter()
    for stratum, count in whole.items():
        of[str(stratum[part])] += count
        got[str(stratum[part])] += taken.get(stratum, 0)
    return {name: (got[name], count) for name, count in of.most_common()}
