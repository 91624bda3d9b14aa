"""``ocrvl data mix``: several datasets in one, each with its share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._model import ModelOption, find_counter, find_family_member
from ocrvl_modal.commands.data._paths import lasting, resolve


def mix(
    datasets: Annotated[
        list[str],
        typer.Argument(metavar="FILE[=WEIGHT]…", help="Datasets, each with its weight; without, by their rows."),
    ],
    out_folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for train.jsonl.")],
    replay: Annotated[
        str | None, typer.Option("--replay", metavar="FILE", help="Samples of the tasks that must not be forgotten.")
    ] = None,
    replay_share: Annotated[float, typer.Option("--replay-share", help="Its share of the whole mix.")] = 0.2,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Samples of the mix; as many as there are, with the replay on top."),
    ] = None,
    model: ModelOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another order, and other rows.")] = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Mix datasets by weight, and say what the mix is in samples and tokens, task by task.

    A dataset that is too small for its weight goes in again and again; one that is too large leaves rows out. Both
    are counted.

    \b
    Example:
      ocrvl data mix scans.jsonl=3 tables.jsonl=1 --replay base.jsonl --out mixed
    """
    from ocrvl_modal.data.shaping.ingredients import ingredients
    from ocrvl_modal.data.shaping.mixing import mix_datasets
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.shaping_tables import mix_notes, mix_tables

    out = Output.of("data mix", json=json, quiet=quiet)
    asked = ingredients(datasets, replay, replay_share, lasting)
    with out.progress() as on_progress:
        report = mix_datasets(
            asked,
            resolve(out_folder),
            find_family_member(model),
            samples=samples,
            seed=seed,
            count_many=find_counter(model),
            on_progress=on_progress,
        )
    for note in mix_notes(report):
        out.warn(note)
    file = shlex.quote(str(Path(out_folder) / report.file.name))
    out.finish(report.to_dict(), human=lambda: mix_tables(report), hint=f"ocrvl data stats {file}")
