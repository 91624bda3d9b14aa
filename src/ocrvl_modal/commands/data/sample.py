"""``ocrvl data sample``: a small dataset that stands for a large one."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._paths import lasting, resolve


def sample(
    path: Annotated[str, typer.Argument(metavar="FILE", help="A .jsonl file here, or /data/… in the data store.")],
    out_file: Annotated[str, typer.Option("--out", metavar="FILE", help="File to write the rows to.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Rows to take.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Another seed takes other rows of each kind.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a few rows of every task, script and length, for a smoke run.

    \b
    Example:
      ocrvl data sample all.jsonl --out few.jsonl -n 200
    """
    from ocrvl_modal.data.shaping.sampling import sample_dataset
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.shaping_tables import sample_table

    out = Output.of("data sample", json=json, quiet=quiet)
    with out.progress() as on_progress:
        report = sample_dataset(
            lasting(path), resolve(out_file), count, seed=seed, force=force, on_progress=on_progress
        )
    if report.taken < count:
        out.warn(f"{path} has {report.rows:,} rows: all were taken")
    out.finish(
        report.to_dict(),
        human=lambda: sample_table(report),
        hint=f"ocrvl data preview {shlex.quote(out_file)} --out page.html",
    )
