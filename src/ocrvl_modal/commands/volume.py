"""``ocrvl volume``: looking into the stores, and copying in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from rich.table import Table

    from ocrvl_modal.backends.base import StoreEntry

app = typer.Typer(no_args_is_help=True, help="Look into the stores /data, /models, /outputs and /wheels.")

ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


@app.command("ls")
def list_place(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="Such as /data or /outputs/first.")] = "/",
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List a folder of a store, or the stores.

    \b
    Example:
      ocrvl volume ls /outputs
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.output import Output
    from ocrvl_modal.places import STORE_NAMES

    out = Output.of("volume ls", json=json, quiet=quiet)
    stores = open_by_flag(backend).stores
    wanted = [f"/{name}" for name in STORE_NAMES] if place == "/" else [place]
    entries = [entry for each in wanted for entry in stores.list(each)]
    data = [
        {
            "place": entry.place,
            "folder": entry.is_folder,
            "size_bytes": entry.size_bytes,
            "modified_at": entry.modified_at.isoformat(),
        }
        for entry in entries
    ]
    out.finish({"entries": data}, human=lambda: [_table(entries) if entries else f"{place} is empty"])


@app.command()
def get(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="Such as /outputs/first/export.")],
    destination: Annotated[Path, typer.Argument(metavar="DESTINATION", help="A path on this machine.")] = Path(),
    force: ForceOption = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy a file or a folder out of a store.

    \b
    Example:
      ocrvl volume get /outputs/first/export ./my-model
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import size

    out = Output.of("volume get", json=json, quiet=quiet)
    name = place.rstrip("/").rpartition("/")[2]
    target = destination / name if destination == Path() else destination
    copied = open_by_flag(backend).stores.get(place, target, force=force)
    out.finish(
        {"place": place, "destination": str(target), "size_bytes": copied},
        human=lambda: [f"{place} → {target} ({size(copied)})"],
    )


@app.command()
def put(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A file or a folder on this machine.")],
    place: Annotated[str, typer.Argument(metavar="PLACE", help="Such as /data/digits.")],
    force: ForceOption = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy a file or a folder into a store.

    \b
    Example:
      ocrvl volume put ./digits /data/digits
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import size

    out = Output.of("volume put", json=json, quiet=quiet)
    copied = open_by_flag(backend).stores.put(source, place, force=force)
    out.finish(
        {"source": str(source), "place": place, "size_bytes": copied},
        human=lambda: [f"{source} → {place} ({size(copied)})"],
    )


def _table(entries: list[StoreEntry]) -> Table:
    from rich import box
    from rich.table import Table

    from ocrvl_modal.report.words import ago, size

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("place", "size", "changed"):
        table.add_column(header, justify="right" if header == "size" else "left", overflow="fold")
    for entry in entries:
        table.add_row(entry.place + ("/" if entry.is_folder else ""), size(entry.size_bytes), ago(entry.modified_at))
    return table
