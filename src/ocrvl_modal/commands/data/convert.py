"""``ocrvl data convert``: from what people have to rows and images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._paths import resolve
from ocrvl_modal.errors import did_you_mean, usage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocrvl_modal.data.converting.conversion import ConversionReport
    from ocrvl_modal.data.converting.formats import Source

_Word = TypeVar("_Word", bound=str)


def convert(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a folder, or hf://owner/name.")],
    out_folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to make, or /data/… in the store.")],
    from_format: Annotated[
        str, typer.Option("--from", metavar="FORMAT", help="What the source is; told by its looks by default.")
    ] = "auto",
    to: Annotated[
        str, typer.Option("--to", metavar="messages|erniekit", help="Form of the rows; ocrvl reads both.")
    ] = "messages",
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="text, table, formula, chart, seal or spotting."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="A prompt of your own, for a labelling convention of your own.")
    ] = None,
    unit: Annotated[
        str, typer.Option("--unit", metavar="line|page", help="A sample a labelled region, or one a page.")
    ] = "line",
    images: Annotated[
        str,
        typer.Option("--images", metavar="copy|link|reference", help="How whole image files come along."),
    ] = "copy",
    root: Annotated[
        list[str] | None, typer.Option("--root", metavar="DIR", help="Where else images lie; may be given again.")
    ] = None,
    image_column: Annotated[str | None, typer.Option("--image-column", help="Of a table; guessed by default.")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column", help="Of a table; guessed by default.")] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a dataset of label files, folders of pairs, tables, archives, a hub's dataset, or rows of the other form.

    Formats: paddle (PaddleOCR's label files), pairs (images with .txt, .gt.txt, .md or .html beside them), csv,
    parquet, coco-text, icdar, pubtabnet (tables, also of PPOCRLabel), page (PAGE XML), alto, rows (ERNIEKit's or
    PaddleFormers'). Lines with corners are cut out; with --task spotting, and with --unit page, a page stays whole.
    Tables in HTML and Markdown become OTSL.

    What gives no sample is counted, and listed in DIR/dropped.jsonl; without any sample it ends with exit code 3.

    \b
    Example:
      ocrvl data convert scans --out my-data
      ocrvl data convert Label.txt --out my-spotting --task spotting
    """
    from ocrvl_modal.data.converting.conversion import convert as run_conversion
    from ocrvl_modal.data.converting.formats import FORMATS
    from ocrvl_modal.data.converting.samples import TASKS, UNITS, Wish
    from ocrvl_modal.data.converting.writing import IMAGES_MODES
    from ocrvl_modal.data.forms import ROW_FORMATS
    from ocrvl_modal.models import task_of
    from ocrvl_modal.output import Output

    out = Output.of("data convert", json=json, quiet=quiet)
    wish = Wish(_one_of(task, TASKS, "task") if task else None, prompt, _one_of(unit, UNITS, "unit"))
    rows_format, mode = _one_of(to, ROW_FORMATS, "row format"), _one_of(images, IMAGES_MODES, "way of images")
    with out.progress() as on_progress:
        read, read_as = _open(source, from_format, root or [], image_column, text_column, on_progress)
        out.note(f"reading {source} as {read_as}: {FORMATS[read_as].title}")
        report = run_conversion(
            source,
            read,
            read_as,
            resolve(out_folder),
            wish=wish,
            rows_format=rows_format,
            images=mode,
            on_progress=on_progress,
        )
    own_prompt = ["--extra-prompt", prompt] if prompt and task_of(prompt) is None else []
    hint = shlex.join(["ocrvl", "data", "check", str(Path(out_folder) / report.rows.name), *own_prompt])
    out.finish(report.to_dict(), human=lambda: _show(report), hint=hint)


def _open(
    source: str,
    from_format: str,
    roots: list[str],
    image_column: str | None,
    text_column: str | None,
    on_progress: Callable[[str, int, int], None],
) -> tuple[Source, str]:
    """Return what to read, and as what; a dataset of the hub is fetched first."""
    from ocrvl_modal.data.converting.columns import Columns
    from ocrvl_modal.data.converting.formats import Source, detect, known_format
    from ocrvl_modal.data.converting.parquet import require_pyarrow
    from ocrvl_modal.jobs.fetching.hub_tables import SCHEME, fetch_tables

    columns = Columns(image_column, text_column)
    known = None if from_format == "auto" else known_format(from_format)
    if source.startswith(SCHEME):
        require_pyarrow()
        if known not in (None, "parquet"):
            raise usage_error("a dataset of the hub is read as Parquet", "leave out --from")
        return Source(Path(source), columns, files=tuple(fetch_tables(source, on_progress))), "parquet"
    path = Path(source) if Path(source).exists() else resolve(source)
    read_as = detect(path, known)
    return Source(path, columns, tuple(map(Path, roots))), read_as


def _one_of(value: str, known: Sequence[_Word], what: str) -> _Word:
    for word in known:
        if word == value:
            return word
    raise usage_error(f"there is no {what} '{value}'", did_you_mean(value, known))


def _show(report: ConversionReport) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    tasks = " · ".join(f"{task} {count:,}" for task, count in report.by_task.items())
    for name, value in (
        ("read as", report.read_as),
        ("samples", f"{report.samples:,} ({tasks})"),
        ("rows", str(report.rows)),
        ("dropped", f"{sum(report.dropped.values()):,}" if report.dropped else "nothing"),
    ):
        table.add_row(name, Text(value))
    lines: list[Any] = [table]
    for reason, count in report.dropped.items():
        lines.append(f"{reason}: {count:,}")
        lines += [f"  {example.origin}: {example.detail}" for example in report.examples if example.reason == reason]
    return lines
