"""Converting a source: read as a stream, written as a dataset that appears whole or not at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.cores import usable_cores
from ocrvl_modal.data.converting import dataset_rows
from ocrvl_modal.data.converting.dataset_rows import ReadRow
from ocrvl_modal.data.converting.formats import FORMATS, Source, SourceItems
from ocrvl_modal.data.converting.items import Dropped, Page, Unusable
from ocrvl_modal.data.converting.samples import NewSample, Wish, samples_of
from ocrvl_modal.data.converting.writing import DROPPED, IMAGES, ROWS, DatasetWriter, ImagesMode
from ocrvl_modal.data.forms import RowFormat
from ocrvl_modal.data.made_folders import Making, require_outside, require_replaceable
from ocrvl_modal.data.schema import can_be_asked
from ocrvl_modal.errors import OcrvlError, data_error, of_the_system, usage_error

MAKING = Making(
    marker="convert.json",
    maker="ocrvl data convert",
    names=frozenset({ROWS, IMAGES, DROPPED}),
    what="a converted dataset",
    example="converted",
)

_TELL_EACH = 20
_AHEAD = 2

OnProgress = Callable[[str, int, int], None]
_Result = list[NewSample | Dropped] | ReadRow


@dataclass(frozen=True)
class ConversionReport:
    """What a source became: how many samples of each task, and how much was dropped, by reason, with examples."""

    source: str
    read_as: str
    folder: Path
    rows_format: RowFormat
    by_task: Mapping[str, int]
    dropped: Mapping[str, int]
    examples: tuple[Dropped, ...]

    @property
    def rows(self) -> Path:
        """The file of rows."""
        return self.folder / ROWS

    @property
    def samples(self) -> int:
        """How many samples came out."""
        return sum(self.by_task.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "source": self.source,
            "read_as": self.read_as,
            "folder": str(self.folder),
            "rows": str(self.rows),
            "format": self.rows_format,
            "samples": self.samples,
            "by_task": dict(self.by_task),
            "dropped": sum(self.dropped.values()),
            "reasons": dict(self.dropped),
            "examples": [asdict(example) for example in self.examples],
        }


def convert(
    name: str,
    source: Source,
    read_as: str,
    out: Path,
    *,
    wish: Wish,
    rows_format: RowFormat = "messages",
    images: ImagesMode = "copy",
    on_progress: OnProgress | None = None,
) -> ConversionReport:
    """Make the folder ``out`` with ``train.jsonl``, ``images/``, and ``dropped.jsonl`` for all that gave no sample.

    ``name`` is what the user calls the source, ``read_as`` one of :data:`FORMATS`. The folder appears whole or not at
    all; an earlier one of this function is replaced. Raises a data error, and makes nothing, where no sample came out.
    """
    _require_apart(source, out)
    _require_sound(wish, read_as)
    folder = out.resolve()
    with files.new_folder(folder) as beside:
        with DatasetWriter(beside, rows_format, images) as writer:
            try:
                _write(FORMATS[read_as].read(source), wish, writer, on_progress)
            except OSError as error:
                raise of_the_system(error, "run the command again") from error
        report = ConversionReport(
            source=name,
            read_as=read_as,
            folder=out,
            rows_format=rows_format,
            by_task=dict(writer.by_task),
            dropped=dict(writer.dropped.most_common()),
            examples=tuple(writer.examples),
        )
        if not report.samples:
            raise _nothing(report)
        files.write_json(beside / MAKING.marker, {"made_by": MAKING.maker, **report.to_dict()})
    return report


def _require_apart(source: Source, out: Path) -> None:
    """Refuse a folder that must not be replaced, and one in the source, whose files would be read the next time."""
    require_replaceable(out, MAKING)
    if source.files:
        return
    require_outside(source.path, out)
    if source.path.is_dir() and out.resolve().is_relative_to(source.path.resolve()):
        raise usage_error(f"{out} lies in the source {source.path}", "--out another-folder")


def _require_sound(wish: Wish, read_as: str) -> None:
    if read_as == "rows" and (wish.task or wish.prompt):
        raise usage_error("rows have their tasks and prompts already", "leave out --task and --prompt")
    if wish.prompt is not None and not can_be_asked(wish.prompt):
        raise usage_error(f"'{wish.prompt}' cannot be a prompt", "--prompt 'Ledger Recognition:'")


def _nothing(report: ConversionReport) -> OcrvlError:
    if not report.dropped:
        return data_error(f"{report.source}, read as {report.read_as}, has nothing in it", "name another source")
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in report.dropped.items())
    first = report.examples[0]
    return data_error(
        f"{report.source}, read as {report.read_as}, gave no sample ({reasons}); {first.origin}: {first.detail}",
        "mend that, or name another format with --from",
    )


def _write(items: SourceItems, wish: Wish, writer: DatasetWriter, on_progress: OnProgress | None) -> None:
    done = 0
    for done, result in enumerate(_worked_ahead(items, wish), start=1):
        for one in result if isinstance(result, list) else [result]:
            _write_one(one, writer)
        if on_progress and done % _TELL_EACH == 0:
            # How many there will be is known at the end only.
            on_progress("converting pages", done, done + 1)
    if on_progress:
        on_progress("converting pages", done, done)


def _write_one(one: NewSample | ReadRow | Dropped, writer: DatasetWriter) -> None:
    if isinstance(one, Dropped):
        writer.drop(one)
        return
    try:
        if isinstance(one, ReadRow):
            dataset_rows.add(one, writer)
        else:
            writer.add(one.picture, one.task, one.prompt, one.target)
    except Unusable as unusable:
        writer.drop(unusable.at(one.origin))


def _worked_ahead(items: SourceItems, wish: Wish) -> Iterator[_Result]:
    """Yield what each item gives, in order; pages with regions are decoded and cut side by side, a few ahead."""
    workers = usable_cores()
    waiting: deque[_Result | Future[list[NewSample | Dropped]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(_begin(item, wish, pool))
            if len(waiting) > workers * _AHEAD:
                yield _end(waiting.popleft())
        while waiting:
            yield _end(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(
    item: Page | ReadRow | Dropped, wish: Wish, pool: ThreadPoolExecutor
) -> _Result | Future[list[NewSample | Dropped]]:
    if isinstance(item, Page):
        return pool.submit(samples_of, item, wish) if item.regions else samples_of(item, wish)
    return [item] if isinstance(item, Dropped) else item


def _end(result: _Result | Future[list[NewSample | Dropped]]) -> _Result:
    return result.result() if isinstance(result, Future) else result
