"""``ocrvl eval``: does the tuned model read better than the base model?"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.errors import usage_error

if TYPE_CHECKING:
    from ocrvl_modal.backends.base import Backend, StagedDataset
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import TrainRecipe
    from ocrvl_modal.runs.record import RunRecord


def evaluate(
    name: Annotated[str, typer.Argument(metavar="RUN", help="The run whose model is scored.")],
    data: Annotated[
        str | None,
        typer.Option(help="Samples to score on: a JSONL file, or NAME@VERSION/test; the run's data.test by default."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many samples, spread evenly over the data.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest reading of an image; twice the longest target by default.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images read at once; 8 by default.")] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a run's model, and the base model that it began from, on samples that it was not trained on.

    Every image is read by both models; readings and scores stay in the run's folder, under eval/.

    \b
    Examples:
      ocrvl eval first
      ocrvl eval first --data digits/test.jsonl --limit 20
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.reading import find_export, locate_model
    from ocrvl_modal.backends.runs_view import load_recipe, load_run, place_of
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.score_table import is_better, score_table, score_warnings, verdict

    output = Output.of("eval", json=json, quiet=quiet)
    place = open_by_flag(backend)
    view = load_run(place, name)
    tuned = find_export(place, view)
    recipe = load_recipe(place, name)
    samples = _choose_data(place, view.record, recipe, data, output)
    asked = {"limit": limit, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    request = {
        "models": {"base": locate_model(place, recipe.model.name), "tuned": tuned},
        "family": recipe.model.family,
        "data": samples,
        "out": place_of(name, "eval", _suite(samples)),
        **{key: value for key, value in asked.items() if value is not None},
    }
    with output.progress() as on_progress:
        result: dict[str, Any] = place.call("evaluate", request, on_progress=on_progress)
    for warning in score_warnings(result):
        output.warn(warning)
    output.finish(
        {"run": name, "tuned_is_better": is_better(result), **result},
        human=lambda: [score_table(result), verdict(result), f"{result['out']}/predictions.jsonl has every reading"],
        hint=f"ocrvl volume get {result['out']} ./{name}-{_suite(samples)}",
    )


def _choose_data(place: Backend, record: RunRecord, recipe: TrainRecipe, data: str | None, output: Output) -> str:
    """Return the dataset to score on; never the training data, unless the user names it."""
    name = record.name
    chosen = data or recipe.data.test or recipe.data.validation
    if chosen is None:
        raise usage_error(
            f"run '{name}' has neither data.test nor data.validation to score on", f"ocrvl eval {name} --data FILE"
        )
    if not data and not recipe.data.test:
        output.note(f"the run has no data.test: scoring on its data.validation, {chosen}")
    with output.progress() as on_progress:
        staged = place.stage_datasets({"test": chosen}, on_progress)["test"]
    if _is_trained_on(place, staged, record):
        output.warn(
            f"{chosen} is what run '{name}' was TRAINED on: the scores say what the model remembers, and nothing of"
            " how it reads images that it has not seen"
        )
    return staged.reference


def _is_trained_on(place: Backend, staged: StagedDataset, record: RunRecord) -> bool:
    from ocrvl_modal.backends.dataset_store import find_stored

    if staged.reference == record.dataset or staged.sha256 == record.dataset_sha256:
        return True
    if staged.sha256 or find_stored(place.stores, record.dataset):
        return False
    first, second = (place.readable_path(reference) for reference in (staged.reference, record.dataset))
    return bool(first and second and first.exists() and second.exists() and first.samefile(second))


def _suite(data: str) -> str:
    """Return the name of the folder for the scores on ``data``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(data).stem).strip("-.") or "data"
