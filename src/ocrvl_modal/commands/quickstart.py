"""``ocrvl quickstart``: one real fine-tuning, from nothing to scores, on this machine."""

from __future__ import annotations

import shutil
import sys
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
    engine: Annotated[
        str, typer.Option(help="Train with this engine: transformers, or paddleformers where it is installed.")
    ] = "transformers",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a toy model on this machine, kill it, resume it, read with it, score it. Takes minutes, costs nothing.

    \b
    Example:
      ocrvl quickstart --dir ./try-ocrvl
    """
    from ocrvl_modal.backends.runs_view import load_metrics
    from ocrvl_modal.commands._tour import Tour, check_engine
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.quickstart_summary import summary
    from ocrvl_modal.settings import home

    out = Output.of("quickstart", json=json, quiet=quiet)
    where = folder.expanduser().absolute() if folder else home()
    tour = Tour(where, out, engine=check_engine(engine), keep=keep)
    report = tour.go()
    out.finish(
        report.to_dict(),
        human=lambda: summary(
            report,
            load_metrics(tour.backend, tour.name),
            home=_short(where) if folder else "",
            program="ocrvl" if shutil.which("ocrvl") else _short(Path(sys.argv[0])),
        ),
    )


def _short(path: Path) -> str:
    """Return a path as it would be typed here."""
    here = Path.cwd()
    return str(path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path)
