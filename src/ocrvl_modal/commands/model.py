"""``ocrvl model``: what lies in the models store, where it came from, and whether it still is as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.errors import ExitCode

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="Look at the models in the models store.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="0.9b, 1.5, 1.6, tiny, OWNER/NAME, or a place such as /models/mine.")
]


@app.command("ls")
def list_all(backend: BackendOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the models in the models store.

    \b
    Example:
      ocrvl model ls
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.model_store import family_of, list_models
    from ocrvl_modal.output import Output

    out = Output.of("model ls", json=json, quiet=quiet)
    place = open_by_flag(backend)
    models = list_models(place)
    rows = [{**model.to_dict(), "family": family_of(place, model)} for model in models]
    broken = next((model for model in models if model.problem), None)
    first = broken.command if broken else "" if models else "ocrvl download model"
    out.finish({"models": rows}, human=lambda: [_table(rows) if rows else "/models holds no model"], hint=first)


@app.command()
def show(
    name: NameArgument, backend: BackendOption = None, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show one model: its origin and its files.

    \b
    Example:
      ocrvl model show tiny
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.model_store import family_of, load_model
    from ocrvl_modal.output import Output

    out = Output.of("model show", json=json, quiet=quiet)
    place = open_by_flag(backend)
    model = load_model(place, name)
    data = {**model.to_dict(), "family": family_of(place, model)}
    out.finish(data, human=lambda: _details(data), hint=model.command if model.problem else "")


@app.command()
def verify(
    name: NameArgument, backend: BackendOption = None, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Read every file of a model, and compare its size and SHA-256 with what came from the hub.

    Ends with exit code 1 where something differs.

    \b
    Example:
      ocrvl model verify 1.6
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.model_store import load_model
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import size

    out = Output.of("model verify", json=json, quiet=quiet)
    place = open_by_flag(backend)
    model = load_model(place, name)
    with out.progress() as on_progress:
        result = place.call("verify_model", {"place": model.place}, on_progress=on_progress)
    problems = result["problems"]
    total = f"{result['files']} files, {size(result['size_bytes'])}"
    told = f"{model.place} is as it came: {total}, {result['repository']} at {result['commit'][:12]}"
    out.finish(
        result,
        human=lambda: [f"{model.place} differs from {result['repository']}:", *problems] if problems else [told],
        hint=f"{model.command} --force" if problems else "",
        exit_code=ExitCode.FAILED if problems else ExitCode.OK,
    )


def _whole(row: dict[str, Any]) -> str:
    """Return whether a model is whole, in words; of one that came from no hub nothing tells."""
    if row["problem"]:
        return f"no: {row['problem']}"
    return "yes" if row["whole"] else "–"


def _details(data: dict[str, Any]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    from ocrvl_modal.report.words import size

    about = Table(show_header=False, box=None, pad_edge=False)
    about.add_column(style="dim")
    about.add_column(overflow="fold")
    of_a_hub = f"{data['repository']} at {data['revision']}, {data['commit']}"
    origin = of_a_hub if data["repository"] else "made here, or put here by hand"
    for title, value in (
        ("model", data["place"]),
        ("family", data["family"] or "none of PaddleOCR-VL's"),
        ("came from", origin),
        ("whole", _whole(data)),
        ("size", size(data["size_bytes"])),
    ):
        about.add_row(title, Text(value))
    listed = Table(box=None, show_header=False, pad_edge=False)
    listed.add_column(overflow="fold")
    listed.add_column(justify="right")
    for file, size_bytes in data["files"].items():
        listed.add_row(Text(file), size(size_bytes))
    return [about, "", listed]


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ocrvl_modal.report.words import size

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("model", "family", "came from", "commit", "size", "whole"):
        table.add_column(header, justify="right" if header == "size" else "left", overflow="fold")
    for row in rows:
        cells = (
            row["place"],
            row["family"] or "–",
            row["repository"] or "–",
            (row["commit"] or "–")[:12],
            size(row["size_bytes"]),
            _whole(row),
        )
        table.add_row(*map(Text, cells))
    return table
