"""``ocrvl data synth``: make a dataset to try things with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._paths import resolve
from ocrvl_modal.errors import usage_error

if TYPE_CHECKING:
    from ocrvl_modal.output import Output


def synth(
    out_folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to make, or /data/… in the store.")],
    train: Annotated[int, typer.Option("--train", min=1, help="Samples to learn from.")] = 1024,
    validation: Annotated[int, typer.Option("--validation", min=1, help="Samples for the evaluation loss.")] = 64,
    test: Annotated[int, typer.Option("--test", min=1, help="Samples held out for scoring.")] = 64,
    text: Annotated[
        Path | None, typer.Option("--text", metavar="FILE", help="Draw the lines of this text instead of digits.")
    ] = None,
    fonts: Annotated[
        list[Path] | None,
        typer.Option("--fonts", metavar="DIR|FILE", help="Fonts to draw the text in; may be given again."),
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", metavar="lines|tables", help="Draw the text as lines, or as small tables of it.")
    ] = "lines",
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files.")] = 0,
    row_format: Annotated[
        str, typer.Option("--format", metavar="messages|erniekit", help="Form of the rows; ocrvl reads both.")
    ] = "messages",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a dataset of six-digit images that the tiny model learns in minutes, or of a text of your own.

    No string of digits, and no line of the text, is in two of its files, so the score on test.jsonl is of reading, not
    of remembering. A line is drawn only in fonts that have all its characters.

    \b
    Example:
      ocrvl data synth --out digits
      ocrvl data synth --text corpus.txt --fonts fonts --out lines --train 5000
    """
    from ocrvl_modal.data.synthesis.digits import synthesize_digits
    from ocrvl_modal.output import Output

    out = Output.of("data synth", json=json, quiet=quiet)
    if text is not None:
        sizes = {"train": train, "validation": validation, "test": test}
        _draw_text(out, text, out_folder, fonts or [], kind, sizes, seed, row_format)
        return
    if fonts or kind != "lines":
        raise usage_error("--fonts and --kind draw a text, and there is none", "--text corpus.txt")
    with out.progress() as on_progress:
        report = synthesize_digits(
            resolve(out_folder),
            train=train,
            validation=validation,
            test=test,
            seed=seed,
            row_format=row_format,
            on_progress=on_progress,
        )
    file = shlex.quote(str(Path(out_folder) / report.train.name))
    out.finish(
        report.to_dict(),
        human=lambda: _show_samples(report.folder, report.samples),
        hint=f"ocrvl train --data {file} --model tiny --backend local",
    )


def _draw_text(
    out: Output,
    text: Path,
    out_folder: str,
    fonts: list[Path],
    kind: str,
    sizes: dict[str, int],
    seed: int,
    row_format: str,
) -> None:
    from ocrvl_modal.data.synthesis.digits import known_format
    from ocrvl_modal.data.synthesis.from_text import named_missing, synthesize_text

    with out.progress() as on_progress:
        report = synthesize_text(
            text,
            resolve(out_folder),
            fonts,
            kind=kind,
            samples=sizes,
            seed=seed,
            row_format=known_format(row_format),
            on_progress=on_progress,
        )
    if report.dropped:
        out.warn(f"left out {report.dropped:,} lines with characters that no font has: {named_missing(report.missing)}")
    if report.reserved:
        out.warn(f"left out {report.reserved:,} lines with a mark of the model's own, such as <image>")
    file = shlex.quote(str(Path(out_folder) / "train.jsonl"))
    words = f"{report.lines:,} lines of {text}, in {', '.join(report.fonts[:5])}"
    if (more := len(report.fonts) - 5) > 0:
        words += f" and {more} more"
    out.finish(
        report.to_dict(),
        human=lambda: [
            *_show_samples(report.folder, report.samples),
            words,
        ],
        hint=f"ocrvl data preview {file} --out page.html",
    )


def _show_samples(folder: Path, samples: Mapping[str, int]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    for split, count in samples.items():
        table.add_row(Text(str(folder / f"{split}.jsonl")), f"{count:,} samples")
    return [table]
