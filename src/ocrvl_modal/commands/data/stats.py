"""``ocrvl data stats``: a dataset in numbers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._model import ModelOption, find_counter, find_family_member
from ocrvl_modal.commands.data._paths import readable


def stats(
    path: Annotated[
        str, typer.Argument(metavar="FILE", help="A .jsonl file here, NAME@VERSION, or /data/… in the store.")
    ],
    model: ModelOption = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option("--max-seq-len", min=16, help="Longest sample in tokens; as the model's recipe by default."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="PNG", help="Draw it to this file, too.")] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Count samples, tokens, pixels and characters, and say what max_seq_len would drop.

    \b
    Example:
      ocrvl data stats digits/train.jsonl --model tiny --plot stats.png
    """
    from ocrvl_modal.data.shaping.plotting import draw_stats, require_plotting
    from ocrvl_modal.data.shaping.stats import dataset_stats
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import recipe_from
    from ocrvl_modal.report.stats_view import stats_view

    out = Output.of("data stats", json=json, quiet=quiet)
    if plot:
        require_plotting(plot)
    member = find_family_member(model)
    limit = max_seq_len or recipe_from({"model": {"name": model or member.name}}, family=member).data.max_seq_len
    with out.progress() as on_progress:
        found = dataset_stats(readable(path), member, limit, count_many=find_counter(model), on_progress=on_progress)
    if found.refused_rows:
        out.warn(f"{found.refused_rows:,} rows are no samples and not counted; {found.first_refused[0]}")
    if found.refused_images:
        out.warn(f"{found.refused_images:,} samples are not counted, for their image: {found.first_refused[-1]}")
    if plot:
        draw_stats(found, plot)
    refused = found.refused_rows or found.refused_images
    out.finish(
        {**found.to_dict(), "plot": str(plot) if plot else None},
        human=lambda: stats_view(found),
        hint=f"ocrvl data check {shlex.quote(path)}" if refused else "",
    )
