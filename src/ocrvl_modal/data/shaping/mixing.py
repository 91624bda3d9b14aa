"""Several datasets in one, each with its share, and a replay of the model's own tasks so that it forgets none."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ocrvl_modal import files
from ocrvl_modal.data.checking.lengths import CountMany
from ocrvl_modal.data.forms import RowFormat, parse_row, write_row
from ocrvl_modal.data.made_folders import Making, require_outside, require_replaceable
from ocrvl_modal.data.rows import check_command, require_file
from ocrvl_modal.data.shaping.drawing_lots import apportioned, lot, lowest
from ocrvl_modal.data.shaping.ingredients import Ingredient
from ocrvl_modal.data.shaping.measuring import measured
from ocrvl_modal.data.shaping.rows_in_file import changed_meanwhile, count_lines, read_rows, relocated, text_of
from ocrvl_modal.data.shaping.tasks import task_name
from ocrvl_modal.errors import data_error
from ocrvl_modal.models import FamilyMember

OnProgress = Callable[[str, int, int], None]

_MARKER = "mix.json"
_ROWS = "train.jsonl"
MAKING = Making(_MARKER, "ocrvl data mix", frozenset({_ROWS}), "an earlier mix", "mix")


@dataclass(frozen=True)
class MixPart:
    """What one dataset gives: ``samples`` of its ``rows``; each row goes in up to ``copies`` times.

    ``left_out`` rows are not in the mix, and ``repeats`` of the samples were in it before.
    """

    path: Path
    replay: bool
    share: float
    rows: int
    samples: int

    @property
    def left_out(self) -> int:
        """The rows that the mix has no room for."""
        return max(0, self.rows - self.samples)

    @property
    def repeats(self) -> int:
        """The samples that repeat a row of the mix."""
        return max(0, self.samples - self.rows)

    @property
    def copies(self) -> int:
        """How often a row occurs at most."""
        return -(-self.samples // self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the part as it stands in JSON output."""
        return {
            "path": str(self.path),
            "replay": self.replay,
            "share": round(self.share, 4),
            "rows": self.rows,
            "samples": self.samples,
            "left_out": self.left_out,
            "repeats": self.repeats,
            "copies": self.copies,
        }


@dataclass(frozen=True)
class MixedTask:
    """One task in the mix: its samples, their tokens, and how many of the samples come from the replay."""

    samples: int
    tokens: int
    replayed: int


@dataclass(frozen=True)
class MixReport:
    """What was mixed; ``absent_tasks`` are tasks of the model of which the mix has no sample."""

    folder: Path
    seed: int
    parts: tuple[MixPart, ...]
    tasks: Mapping[str, MixedTask]
    tokens_counted: bool
    absent_tasks: tuple[str, ...]

    @property
    def samples(self) -> int:
        """The samples of the whole mix."""
        return sum(part.samples for part in self.parts)

    @property
    def tokens(self) -> int:
        """The tokens of the whole mix."""
        return sum(task.tokens for task in self.tasks.values())

    @property
    def file(self) -> Path:
        """The mixed rows."""
        return self.folder / _ROWS

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "folder": str(self.folder),
            "file": str(self.file),
            "seed": self.seed,
            "samples": self.samples,
            "tokens": self.tokens,
            "tokens_counted": self.tokens_counted,
            "parts": [part.to_dict() for part in self.parts],
            "tasks": {
                name: {"samples": task.samples, "tokens": task.tokens, "replayed": task.replayed}
                for name, task in self.tasks.items()
            },
            "absent_tasks": list(self.absent_tasks),
        }


@dataclass(frozen=True)
class _Survey:
    """What the first reading of one file found of each row: where it begins, its task, its tokens and its lot."""

    offsets: array[int]
    tasks: array[int]
    tokens: array[int]
    lots: array[int]


def mix_datasets(
    ingredients: Sequence[Ingredient],
    out: Path,
    member: FamilyMember,
    *,
    samples: int | None = None,
    seed: int = 0,
    count_many: CountMany | None = None,
    on_progress: OnProgress | None = None,
) -> MixReport:
    """Write the mix into ``train.jsonl`` in the folder ``out``, whole or not at all, in an order told by ``seed``.

    Without ``samples`` it has as many as the datasets that are not replayed have rows, and the replay's share on top.
    A dataset that has too few rows for its share goes in again and again, one that has too many leaves rows out; both
    are counted. Rows are in the form of the first one. Files are read twice; of each row a few numbers are kept.

    Raises *not found* where a file is missing, a data error for a row that is no sample or whose image cannot be used,
    and a usage error for a folder that holds anything but an earlier mix.
    """
    for ingredient in ingredients:
        require_file(ingredient.path)
        require_outside(ingredient.path, out)
    require_replaceable(out, MAKING)
    task_ids: dict[str, int] = {}
    surveys = [_surveyed(each.path, seed, task_ids, member, count_many, on_progress) for each in ingredients]
    parts = _divided(ingredients, [len(survey.offsets) for survey in surveys], samples)
    copies = [_copies(survey.lots, part.samples) for survey, part in zip(surveys, parts, strict=True)]
    tasks = _by_task(parts, surveys, copies, list(task_ids))
    report = MixReport(
        out, seed, parts, tasks, count_many is not None, tuple(task for task in member.prompts if task not in tasks)
    )
    with files.new_folder(out.resolve()) as beside:
        with (beside / _ROWS).open("w", encoding="utf-8") as stream:
            for row in _rows_in_order(parts, surveys, copies, out.resolve(), seed):
                stream.write(row + "\n")
        files.write_json(beside / _MARKER, {"made_by": MAKING.maker, **report.to_dict()})
    return report


def _surveyed(
    path: Path,
    seed: int,
    task_ids: dict[str, int],
    member: FamilyMember,
    count_many: CountMany | None,
    on_progress: OnProgress | None,
) -> _Survey:
    total = count_lines(path)
    survey = _Survey(array("Q"), array("L"), array("L"), array("Q"))
    for item in measured(read_rows(path), member, count_many):
        sample = item.row.sample
        if item.trouble:
            raise data_error(f"{path}: line {sample.line}: {item.trouble}", check_command(path))
        survey.offsets.append(item.row.offset)
        survey.tasks.append(task_ids.setdefault(task_name(sample.prompt), len(task_ids)))
        survey.tokens.append(item.tokens)
        survey.lots.append(lot(seed, item.row.name, sample.prompt, sample.target))
        if on_progress:
            on_progress(f"reading {path}", len(survey.offsets), max(total, len(survey.offsets)))
    return survey


def _divided(ingredients: Sequence[Ingredient], rows: Sequence[int], samples: int | None) -> tuple[MixPart, ...]:
    weights: dict[int, float] = {}
    replayed = sum(each.replay_share for each in ingredients)
    own = {place: each.weight for place, each in enumerate(ingredients) if not each.replay_share}
    wholes = {place: float(rows[place]) if weight is None else weight for place, weight in own.items()}
    for place, ingredient in enumerate(ingredients):
        share_of_own = wholes.get(place, 0.0) / sum(wholes.values())
        weights[place] = ingredient.replay_share or share_of_own * (1 - replayed)
    total = samples or round(sum(rows[place] for place in own) / (1 - replayed))
    seats = apportioned(weights, total)
    return tuple(
        MixPart(each.path, each.replay_share > 0, weights[place], rows[place], seats[place])
        for place, each in enumerate(ingredients)
    )


def _copies(lots: Sequence[int], samples: int) -> array[int]:
    """Return how often each row goes in: all rows equally often, and some, told by their lots, once more."""
    every, more = divmod(samples, len(lots))
    copies = array("L", [every]) * len(lots)
    for place in lowest(lots, range(len(lots)), more):
        copies[place] += 1
    return copies


def _by_task(
    parts: Sequence[MixPart], surveys: Sequence[_Survey], copies: Sequence[array[int]], names: Sequence[str]
) -> dict[str, MixedTask]:
    samples: Counter[int] = Counter()
    tokens: Counter[int] = Counter()
    replayed: Counter[int] = Counter()
    for part, survey, times in zip(parts, surveys, copies, strict=True):
        for task, length, count in zip(survey.tasks, survey.tokens, times, strict=True):
            samples[task] += count
            tokens[task] += count * length
            replayed[task] += count * part.replay
    return {
        names[task]: MixedTask(count, tokens[task], replayed[task]) for task, count in samples.most_common() if count
    }


def _rows_in_order(
    parts: Sequence[MixPart], surveys: Sequence[_Survey], copies: Sequence[array[int]], final: Path, seed: int
) -> Iterator[str]:
    """Yield the rows of all datasets, shuffled: each copy draws a lot for its place."""
    sources, offsets, places = array("L"), array("Q"), array("Q")
    for number, (survey, times) in enumerate(zip(surveys, copies, strict=True)):
        for offset, own_lot, count in zip(survey.offsets, survey.lots, times, strict=True):
            for copy in range(count):
                sources.append(number)
                offsets.append(offset)
                places.append(lot(seed, str(own_lot), str(copy), str(number)))
    with ExitStack() as stack:
        streams = [stack.enter_context(part.path.open("rb")) for part in parts]
        folders = [part.path.absolute().parent.resolve() for part in parts]
        form: RowFormat | None = None
        for index in sorted(range(len(places)), key=lambda index: (places[index], sources[index], offsets[index])):
            source = sources[index]
            text = _line_at(streams[source], offsets[index], parts[source].path)
            form = form or _form_of(text)
            yield relocated(_in_form(text, form), folders[source], final)


def _line_at(stream: BinaryIO, offset: int, path: Path) -> str:
    stream.seek(offset)
    text = text_of(stream.readline())
    if not text.startswith("{"):
        raise changed_meanwhile(path)
    return text


def _form_of(text: str) -> RowFormat:
    return "messages" if "messages" in json.loads(text) else "erniekit"


def _in_form(text: str, form: RowFormat) -> str:
    return text if _form_of(text) == form else write_row(parse_row(text.encode()), form)
