"""A dataset in three files that share no document, no writer and no image."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.data.made_folders import Making, require_outside, require_replaceable
from ocrvl_modal.data.rows import check_command, require_file
from ocrvl_modal.data.shaping.assignment import SPLITS, Assignment, Shares, better_seed, group_number, lacking
from ocrvl_modal.data.shaping.grouping import GroupOf, grouping
from ocrvl_modal.data.shaping.linking import SharedImages, known_together
from ocrvl_modal.data.shaping.rows_in_file import (
    RowInFile,
    changed_meanwhile,
    count_lines,
    lines_of_rows,
    read_rows,
    relocated,
)
from ocrvl_modal.data.shaping.tasks import task_name
from ocrvl_modal.data.shards.digests import Stamp
from ocrvl_modal.errors import OcrvlError, data_error

OnProgress = Callable[[str, int, int], None]

_MARKER = "split.json"
MAKING = Making(
    _MARKER, "ocrvl data split", frozenset(f"{split}.jsonl" for split in SPLITS), "an earlier split", "split"
)
# A seed is looked for among fifty: worth it where chance weighs, and it does not among so many groups.
_MOST_GROUPS_TO_TRY = 20_000


@dataclass(frozen=True)
class SplitPart:
    """What one split got: its rows, the groups that these are of, and the rows by task."""

    rows: int
    groups: int
    tasks: Mapping[str, int]


@dataclass(frozen=True)
class SplitReport:
    """How a dataset was divided.

    ``linked_groups`` counts the groups that share an image with another, and ``largest_block`` the rows that the
    largest set of groups that must stay together has. ``lacking`` lists each split and task without a row there, and
    ``seed_to_try`` is one under which fewer are lacking.
    """

    folder: Path
    source: Path
    group_by: str
    together: str
    seed: int
    shares: Shares
    parts: Mapping[str, SplitPart]
    linked_groups: int
    largest_block: int
    lacking: tuple[tuple[str, str], ...]
    seed_to_try: int | None

    @property
    def rows(self) -> int:
        """The rows of all splits."""
        return sum(part.rows for part in self.parts.values())

    def file(self, split: str) -> Path:
        """Return the file of a split."""
        return self.folder / f"{split}.jsonl"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "folder": str(self.folder),
            "source": str(self.source),
            "group_by": self.group_by,
            "together": self.together,
            "seed": self.seed,
            "rows": self.rows,
            "splits": {
                split: {
                    "file": str(self.file(split)) if part.rows else None,
                    "rows": part.rows,
                    "groups": part.groups,
                    "share": round(part.rows / self.rows, 4),
                    "share_asked": self.shares.to_dict()[split],
                    "tasks": dict(part.tasks),
                }
                for split, part in self.parts.items()
            },
            "linked_groups": self.linked_groups,
            "largest_block": self.largest_block,
            "lacking": [{"split": split, "task": task} for split, task in self.lacking],
            "seed_to_try": self.seed_to_try,
        }


@dataclass(frozen=True)
class _Survey:
    """What the first reading found: the group and the task of each row, and which groups must stay together."""

    groups: array[int]
    tasks: array[int]
    task_names: list[str]
    linked: list[list[int]]

    def rows_by_group(self) -> dict[int, Counter[str]]:
        found: dict[int, Counter[str]] = {}
        for group, task in zip(self.groups, self.tasks, strict=True):
            found.setdefault(group, Counter())[self.task_names[task]] += 1
        return found


def split_dataset(
    path: Path,
    out: Path,
    shares: Shares,
    *,
    group_by: str = "image",
    together: str = "alike",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> SplitReport:
    """Write ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` into the folder ``out``, whole or not at all.

    Rows of a group (see :func:`~ocrvl_modal.data.shaping.grouping.grouping`) and, by ``together``, of groups that
    share an image go to one split. Which one depends on the group's name and ``seed`` alone, so rows that are added
    later move no other; the shares are met as nearly as chance allows, in each task. A split with the share 0 gets
    no file. The file is read twice; of each row a few numbers are kept.

    Raises *not found* where there is no file, a data error for a row that is no sample, an image that cannot be read,
    a row that the grouping says nothing of, and a split that would be empty; a usage error for a folder that holds
    anything but an earlier split.
    """
    group_of = grouping(group_by)
    require_file(path)
    require_outside(path, out)
    require_replaceable(out, MAKING)
    before = Stamp.of(str(path))
    survey = _surveyed(path, group_of, group_by, known_together(together), on_progress)
    assignment = Assignment(shares, seed, survey.linked)
    report = _report(path, out, shares, group_by, together, seed, survey, assignment)
    _require_rows_in_each(report)
    with files.new_folder(out.resolve()) as beside:
        try:
            _write(path, out.resolve(), beside, survey, assignment)
            is_same = Stamp.of(str(path)) == before
        except UnicodeDecodeError:
            is_same = False
        if not is_same:
            raise changed_meanwhile(path)
        files.write_json(beside / _MARKER, {"made_by": MAKING.maker, **report.to_dict()})
    return report


def _surveyed(path: Path, group_of: GroupOf, rule: str, together: str, on_progress: OnProgress | None) -> _Survey:
    total = count_lines(path)
    groups, tasks = array("Q"), array("L")
    task_ids: dict[str, int] = {}
    shared = SharedImages(together, check_command(path))
    for row, group in shared.watch(_grouped(path, group_of, rule)):
        groups.append(group)
        tasks.append(task_ids.setdefault(task_name(row.sample.prompt), len(task_ids)))
        if on_progress:
            on_progress("reading rows and images", len(groups), max(total, len(groups)))
    shared.join()
    return _Survey(groups, tasks, list(task_ids), shared.links.together())


def _grouped(path: Path, group_of: GroupOf, rule: str) -> Iterator[tuple[RowInFile, int]]:
    """Yield each row with the number of its group; raise at the end where rows have none."""
    without: list[str] = []
    count = 0
    for row in read_rows(path):
        group = group_of(row.name)
        if group is None:
            count += 1
            without = without or [f"line {row.sample.line}: {row.name}"]
        else:
            yield row, group_number(group)
    if count:
        raise data_error(
            f"--group-by {rule} says nothing of {count:,} {'row' if count == 1 else 'rows'}, such as {without[0]}",
            "extend it to all images, or group by folder or image",
        )


def _report(
    path: Path,
    out: Path,
    shares: Shares,
    group_by: str,
    together: str,
    seed: int,
    survey: _Survey,
    assignment: Assignment,
) -> SplitReport:
    rows = survey.rows_by_group()
    tasks: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    groups: Counter[str] = Counter()
    blocks: Counter[int] = Counter()
    for group, by_task in rows.items():
        split = assignment.split_of(group)
        groups[split] += 1
        tasks[split].update(by_task)
        blocks[assignment.block_of(group)] += sum(by_task.values())
    missing = tuple(lacking(tasks, shares))
    to_try = better_seed(rows, survey.linked, shares, seed) if missing and len(rows) <= _MOST_GROUPS_TO_TRY else None
    return SplitReport(
        folder=out,
        source=path,
        group_by=group_by,
        together=together,
        seed=seed,
        shares=shares,
        parts={
            split: SplitPart(sum(tasks[split].values()), groups[split], dict(tasks[split].most_common()))
            for split in SPLITS
        },
        linked_groups=sum(len(members) for members in survey.linked),
        largest_block=max(blocks.values(), default=0),
        lacking=missing,
        seed_to_try=to_try,
    )


def _require_rows_in_each(report: SplitReport) -> None:
    wanted = [split for split, share in report.shares.to_dict().items() if share > 0]
    empty = [split for split in wanted if not report.parts[split].rows]
    if empty:
        raise _empty(report, empty)


def _empty(report: SplitReport, empty: list[str]) -> OcrvlError:
    groups = sum(part.groups for part in report.parts.values())
    message = (
        f"{' and '.join(empty)} would get no row: {report.source} has {groups:,}"
        f" {'group' if groups == 1 else 'groups'} by --group-by {report.group_by},"
        f" and the largest set that must stay together has {report.largest_block:,} of {report.rows:,} rows"
    )
    if report.seed_to_try is not None:
        return data_error(message, f"--seed {report.seed_to_try}")
    others = " ".join(f"--{split} 0" for split in empty if split != "train")
    return data_error(message, f"group by something finer, or leave it out: {others}" if others else "--seed 1")


def _write(path: Path, final: Path, beside: Path, survey: _Survey, assignment: Assignment) -> None:
    source = path.absolute().parent.resolve()
    with ExitStack() as stack:
        streams: dict[str, Any] = {}
        for text, group in zip(lines_of_rows(path), survey.groups, strict=False):
            split = assignment.split_of(group)
            if split not in streams:
                streams[split] = stack.enter_context((beside / f"{split}.jsonl").open("w", encoding="utf-8"))
            streams[split].write(relocated(text, source, final) + "\n")
