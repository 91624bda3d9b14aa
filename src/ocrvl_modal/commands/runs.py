"""``ocrvl runs``: what runs there are, how they stand, and stopping them."""

from __future__ import annotations

from typing import Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.errors import ExitCode

app = typer.Typer(no_args_is_help=True, help="List, follow and stop training runs.")

NameArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's name.")]


@app.command("ls")
def list_all(
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the runs, newest first.

    \b
    Example:
      ocrvl runs ls
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.runs_view import list_runs
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.run_report import runs_table

    out = Output.of("runs ls", json=json, quiet=quiet)
    place = open_by_flag(backend)
    views, errors = list_runs(place)
    for error in errors:
        out.warn(error.message)
    out.finish(
        {"runs": [view.to_dict() for view in views]},
        human=lambda: [runs_table(views) if views else "there are no runs yet"],
        hint="" if views else "ocrvl quickstart",
    )


@app.command()
def show(
    name: NameArgument,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show how one run stands: state, attempts, loss, files.

    \b
    Example:
      ocrvl runs show first
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.runs_view import load_evaluations, load_metrics, load_run, place_of
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.run_report import attempts_table, loss_curve, run_facts

    out = Output.of("runs show", json=json, quiet=quiet)
    place = open_by_flag(backend)
    view = load_run(place, name)
    metrics = load_metrics(place, name)
    files = [entry.place for entry in place.stores.list(place_of(name))]
    checkpoints = place_of(name, "checkpoints")
    kept = [entry.place for entry in place.stores.list(checkpoints)] if place.stores.exists(checkpoints) else []
    data = {
        "run": view.to_dict(),
        "checkpoints": kept,
        "files": files,
        "last_metrics": metrics[-1] if metrics else None,
        "evaluations": load_evaluations(place, name),
    }
    next_step = {"done": f"ocrvl eval {name}", "training": f"ocrvl runs logs -f {name}"}
    out.finish(
        data,
        human=lambda: [run_facts(view), attempts_table(view), loss_curve(metrics), *[f"  {file}" for file in files]],
        hint=next_step.get(view.state, f"ocrvl train --name {name}" if view.ended else ""),
    )


@app.command()
def logs(
    name: NameArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only this attempt; all of them else.")] = None,
    last: Annotated[int | None, typer.Option("-n", "--tail", min=1, help="Only the last lines.")] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
) -> None:
    """Print what the engine printed, secrets removed.

    \b
    Example:
      ocrvl runs logs -f first
    """
    from collections import deque

    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.runs_view import load_run, log_lines
    from ocrvl_modal.errors import not_found, usage_error
    from ocrvl_modal.output import Output

    out = Output.of("runs logs", json=json)
    place = open_by_flag(backend)
    view = load_run(place, name)
    if attempt and attempt > len(view.record.attempts):
        raise not_found(f"run '{name}' has {len(view.record.attempts)} attempts", f"ocrvl runs show {name}")
    if follow and (json or last):
        raise usage_error("--follow goes with neither --json nor --tail", f"ocrvl runs logs -f {name}")
    lines = log_lines(place, name, attempt, follow=follow)
    if follow:
        for line in lines:
            print(line, flush=True)
        return
    kept = list(deque(lines, maxlen=last))
    out.finish({"lines": kept}, human=lambda: kept)


@app.command()
def stop(
    name: NameArgument,
    wait: Annotated[bool, typer.Option(help="Wait until it has saved and stopped.")] = True,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Cancel a run; it saves a checkpoint first.

    \b
    Example:
      ocrvl runs stop first
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.runs_view import load_run
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.follow import follow

    out = Output.of("runs stop", json=json, quiet=quiet)
    place = open_by_flag(backend)
    view = load_run(place, name)
    if view.ended:
        out.note(f"run '{name}' does not run: it is {view.state}")
    else:
        place.stop(view.record, "cancel")
        view = follow(place, name, out) if wait else load_run(place, name)
    out.finish(
        {"run": view.to_dict()},
        human=lambda: [f"run '{name}' is {view.state} at step {view.record.step} of {view.record.max_steps}"],
        hint="" if view.state == "done" else f"ocrvl train --name {name}   (goes on from its last checkpoint)",
    )


@app.command()
def wait(
    name: NameArgument,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Wait until a run has ended; the exit code says how: 0 done, 1 failed or interrupted, 6 cancelled.

    \b
    Example:
      ocrvl runs wait first && ocrvl eval first
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.runs_view import load_run
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.follow import follow

    out = Output.of("runs wait", json=json, quiet=quiet)
    place = open_by_flag(backend)
    load_run(place, name)
    view = follow(place, name, out)
    codes = {"done": ExitCode.OK, "cancelled": ExitCode.CANCELLED}
    reason = f": {view.reason}" if view.reason else ""
    out.finish(
        {"run": view.to_dict()},
        human=lambda: [f"run '{name}' is {view.state} at step {view.record.step}{reason}"],
        hint=f"ocrvl eval {name}" if view.state == "done" else f"ocrvl runs show {name}",
        exit_code=codes.get(view.state, ExitCode.FAILED),
    )
