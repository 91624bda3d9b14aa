"""``ocrvl data split``: train, validation and test files that share no document and no image."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._paths import lasting, resolve


def split(
    path: Annotated[str, typer.Argument(metavar="FILE", help="A .jsonl file here, or /data/… in the data store.")],
    out_folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for the three files.")],
    train: Annotated[float | None, typer.Option("--train", help="Share to learn from; what the others leave.")] = None,
    validation: Annotated[float, typer.Option("--validation", help="Share for the evaluation loss; 0 for none.")] = 0.1,
    test: Annotated[float, typer.Option("--test", help="Share held out for scoring; 0 for none.")] = 0.1,
    group_by: Annotated[
        str,
        typer.Option(
            "--group-by",
            metavar="RULE",
            help="What must not be parted: image, folder, a regular expression searched in the image's name,"
            " or a .csv file of image,group.",
        ),
    ] = "image",
    together: Annotated[
        str,
        typer.Option(
            "--together",
            metavar="alike|same|named",
            help="Keep images together that look alike, that have the same bytes, or neither (no image is read).",
        ),
    ] = "alike",
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another split.")] = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Divide a dataset by document or writer, so that no test image was learned from.

    A group's split depends on its name and the seed only: rows that you add later move no other. So the shares are
    met as nearly as chance allows, and the output says how nearly, for each task.

    \b
    Example:
      ocrvl data split all.jsonl --out dataset --group-by folder
      ocrvl data split all.jsonl --out dataset --group-by 'page-(\\d+)' --test 0.2
    """
    from ocrvl_modal.data.shaping.assignment import Shares
    from ocrvl_modal.data.shaping.splitting import split_dataset
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.shaping_tables import split_notes, split_table

    out = Output.of("data split", json=json, quiet=quiet)
    shares = Shares.of(train, validation, test)
    with out.progress() as on_progress:
        report = split_dataset(
            lasting(path),
            resolve(out_folder),
            shares,
            group_by=group_by,
            together=together,
            seed=seed,
            on_progress=on_progress,
        )
    for note in split_notes(report):
        out.warn(note)
    file = shlex.quote(str(Path(out_folder) / "train.jsonl"))
    out.finish(report.to_dict(), human=lambda: split_table(report), hint=f"ocrvl data check {file}")
