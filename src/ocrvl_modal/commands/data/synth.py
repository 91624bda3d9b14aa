"""``ocrvl data synth``: make a dataset to try things with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._paths import resolve

if TYPE_CHECKING:
    from ocrvl_modal.data.synth import SynthReport


def synth(
    out_folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to make, or /data/… in the store.")],
    train: Annotated[int, typer.Option("--train", min=1, help="Samples to learn from.")] = 1024,
    validation: Annotated[int, typer.Option("--validation", min=1, help="Samples for the evaluation loss.")] = 64,
    test: Annotated[int, typer.Option("--test", min=1, help="Samples held out for scoring.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files.")] = 0,
    row_format: Annotated[
        str, typer.Option("--format", metavar="messages|erniekit", help="Form of the rows; ocrvl reads both.")
    ] = "messages",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a dataset of six-digit images that the tiny model learns in minutes.

    No string of digits is in two of its files, so the score on test.jsonl is of reading, not of remembering.

    \b
    Example:
      ocrvl data synth --out digits
    """
    from ocrvl_modal.data.synth import synthesize_digits
    from ocrvl_modal.output import Output

    out = Output.of("data synth", json=json, quiet=quiet)
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
        human=lambda: _show_synth(report),
        hint=f"ocrvl train --data {file} --model tiny --backend local",
    )


def _show_synth(report: SynthReport) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    for split, count in report.samples.items():
        table.add_row(Text(str(report.folder / f"{split}.jsonl")), f"{count:,} samples")
    return [table]
