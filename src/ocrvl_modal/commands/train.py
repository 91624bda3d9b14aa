"""``ocrvl train``: resolve, check, plan, confirm, stage, submit, follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption, YesOption
from ocrvl_modal.errors import ExitCode, OcrvlError

if TYPE_CHECKING:
    from ocrvl_modal.backends.base import Backend
    from ocrvl_modal.backends.runs_view import RunView
    from ocrvl_modal.output import Output
    from ocrvl_modal.plan import TrainPlan


def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Training samples: a JSONL file here, or NAME[@VERSION] or /data/… in the data store."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="0.9b, 1.5, 1.6, tiny, or a folder that holds a model.")] = None,
    method: Annotated[str | None, typer.Option(metavar="full|lora", help="All parameters, or an adapter.")] = None,
    engine: Annotated[str | None, typer.Option(help="The trainer; the default suits model and backend.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's name. A run of that name that did not end well goes on.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="GPU to rent, such as L40S or A100-80GB:2.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any recipe key; may be repeated.")
    ] = None,
    resume_from: Annotated[
        str | None,
        typer.Option(help="Go on from this checkpoint: checkpoint-40 of the run itself, RUN, or RUN/checkpoint-40."),
    ] = None,
    output_dir: Annotated[
        str | None, typer.Option(help="Also put the finished model here: a folder, or /models/… in a store.")
    ] = None,
    config_path: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="A configuration of your own for ERNIEKit, in place of run_ocr_vl_sft_16k.yaml."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="local|modal",
            help="Where it runs. Else OCRVL_BACKEND, else the settings file, else modal where a Modal token is"
            " configured, else local.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return at once; the run goes on.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and plan, start nothing.")] = False,
    yes: YesOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune a model on labelled images.

    Everything that a CPU can find wrong is found before training starts. A run that was killed goes on from its last
    complete checkpoint when it is started again under the same name.

    \b
    Examples:
      ocrvl train --data ./digits/train.jsonl --model tiny --name first
      ocrvl train paddleocr-vl-1.6/text-lora --data lines@v2 --detach
      ocrvl train --name first            go on with a run that stopped
    """
    from ocrvl_modal.backends import preparation
    from ocrvl_modal.output import Output

    out = Output.of("train", json=json, quiet=quiet)
    place = open_chosen_backend(backend, out)
    asked = preparation.Asked(
        recipe, data, model, method, engine, name, gpu, tuple(sets or ()), resume_from, output_dir, config_path
    )
    start(asked, place, out, detach=detach, dry_run=dry_run, yes=yes)


def start(asked: Any, place: Backend, out: Output, *, detach: bool, dry_run: bool, yes: bool) -> None:
    """Take what was asked through every step to its end."""
    from ocrvl_modal.backends import preparation
    from ocrvl_modal.backends.submission import submit
    from ocrvl_modal.report.words import size

    resolved = preparation.resolve(asked, place)
    for note in resolved.notes:
        out.note(note)
    with out.progress() as on_progress:
        checked = preparation.check(resolved, place, on_progress)
    planned = preparation.plan(resolved, checked, place)
    for warning in (*resolved.warnings, *checked.warnings, *planned.warnings):
        out.warn(warning)
    if dry_run:
        missing = preparation.missing_model(resolved, place)
        if missing:
            out.note(f"{missing.title} is not in the models store yet: {size(missing.download_bytes)} to fetch")
        _finish_dry_run(resolved.recipe, planned, out)
        return
    _show_plan(planned, out)
    if planned.price_usd_per_hour and resolved.recipe.hardware.gpu:
        out.confirm(f"Start it, at ${planned.price_usd_per_hour} an hour?", yes=yes)
    place.require_ready(resolved.recipe.engine)
    with out.progress() as on_progress:
        resolved, checked = preparation.stage(resolved, checked, place, out.note, on_progress)
    record = submit(place, preparation.submission(resolved, checked, planned, asked, place), out.note)
    if record.state == "done":
        out.note(f"run '{record.name}' is done already; nothing is left to do")
    if detach:
        _finish_detached(record.name, place, out)
    else:
        view = follow_to_the_end(place, record.name, out)
        finish_run(view, place, out)


def open_chosen_backend(flag: str | None, out: Output) -> Backend:
    """Open the backend that the flag or the settings choose; say so where nobody chose."""
    from ocrvl_modal.backends import open_backend
    from ocrvl_modal.settings import choose_backend

    choice = choose_backend(flag)
    if choice.name == "local" and choice.because.startswith("no "):
        out.note(f"backend: local, on this machine ({choice.because}; --backend chooses)")
    return open_backend(choice)


def follow_to_the_end(place: Backend, name: str, out: Output) -> RunView:
    """Follow a run; on Ctrl-C have it save and stop, and leave it alone on the second.

    A run that does not depend on this machine is left alone on the first.
    """
    from ocrvl_modal.backends.runs_view import load_run
    from ocrvl_modal.report.follow import follow

    try:
        return follow(place, name, out)
    except KeyboardInterrupt:
        if not place.stops_on_interrupt:
            raise OcrvlError(
                f"run '{name}' goes on by itself", f"ocrvl runs stop {name} stops it", ExitCode.INTERRUPTED
            ) from None
        out.note(f"saving a checkpoint and stopping '{name}' (Ctrl-C again: leave it to itself)")
        place.stop(load_run(place, name).record, "interrupt")
        return follow(place, name, out)


def finish_run(view: RunView, place: Backend, out: Output) -> None:
    """End the command with how the run stands."""
    from ocrvl_modal.backends.runs_view import load_metrics, place_of
    from ocrvl_modal.report.run_report import loss_curve, run_facts

    name = view.record.name
    if view.state == "failed" and view.record.error:
        raise OcrvlError.from_dict(view.record.error.model_dump())
    data = {"run": view.to_dict(), "export": place_of(name, "export") if view.state == "done" else None}
    hints = {
        "done": f"ocrvl eval {name}",
        "interrupted": f"ocrvl train --name {name}   (goes on from its last checkpoint)",
        "cancelled": f"ocrvl train --name {name}   (goes on from its last checkpoint)",
    }
    codes = {"done": ExitCode.OK, "cancelled": ExitCode.CANCELLED, "interrupted": _code_of_interruption(view)}
    out.finish(
        data,
        human=lambda: [run_facts(view), loss_curve(load_metrics(place, name))],
        hint=hints.get(view.state, f"ocrvl runs show {name}"),
        exit_code=codes.get(view.state, ExitCode.FAILED),
    )


def _code_of_interruption(view: RunView) -> ExitCode:
    return ExitCode.INTERRUPTED if view.reason == "it was interrupted" else ExitCode.FAILED


def _show_plan(planned: TrainPlan, out: Output) -> None:
    from ocrvl_modal.output import stderr_console
    from ocrvl_modal.report.run_report import plan_table

    if out.talkative:
        stderr_console().print(plan_table(planned))


def _finish_dry_run(recipe: Any, planned: TrainPlan, out: Output) -> None:
    from ocrvl_modal.report.run_report import plan_table

    out.finish(
        {"plan": planned.model_dump(mode="json"), "recipe": recipe.model_dump(mode="json")},
        human=lambda: [plan_table(planned)],
        hint="the same command without --dry-run starts it",
    )


def _finish_detached(name: str, place: Backend, out: Output) -> None:
    from ocrvl_modal.backends.runs_view import load_run

    view = load_run(place, name)
    commands = ("runs logs -f", "runs wait", "runs show", "runs stop")
    out.finish(
        {"run": view.to_dict()},
        human=lambda: [
            f"run '{name}' goes on by itself ({view.state})",
            *(f"  ocrvl {command} {name}" for command in commands),
        ],
    )
