"""``ocrvl quickstart``: one real fine-tuning, from nothing to scores, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption


def quickstart(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Keep everything in this folder; your OCRVL_HOME (~/.ocrvl) where it is not given."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the run of an earlier quickstart; this one gets the next free name.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    r"""Train a toy model on this machine, kill it, resume it, read with it, score it. Takes minutes, costs nothing.

    \b
    Example:
      ocrvl quickstart --dir ./try-ocrvl
    """
    from ocrvl_modal.backends.runs_view import load_metrics
    from ocrvl_modal.commands._tour import Tour
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.quickstart_summary import summary
    from ocrvl_modal.settings import home

    out = Output.of("quickstart", json=json, quiet=quiet)
    where = folder.expanduser().absolute() if folder else home()
    tour = Tour(where, out, keep=keep)
    report = tour.go()
    prefix = f"OCRVL_HOME={where} " if folder else ""
    out.finish(
        report.to_dict(),
        human=lambda: summary(report, load_metrics(tour.backend, tour.name), prefix),
    )
