"""``ocrvl volume``: looking into the stores, and copying in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption, YesOption

if TYPE_CHECKING:
    from rich.table import Table

    from ocrvl_modal.backends.base import StoreEntry
    from ocrvl_modal.backends.probing import Probe

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
    from ocrvl_modal.backends.runs_view import require_idle
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import size

    out = Output.of("volume put", json=json, quiet=quiet)
    chosen = open_by_flag(backend)
    require_idle(chosen, place)
    copied = chosen.stores.put(source, place, force=force)
    out.finish(
        {"source": str(source), "place": place, "size_bytes": copied},
        human=lambda: [f"{source} → {place} ({size(copied)})"],
    )


@app.command()
def rm(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="Such as /data/uploads/digits-1234.")],
    yes: YesOption = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove a file, or a folder with all that is in it, from a store.

    \b
    Example:
      ocrvl volume rm /outputs/first --yes
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.runs_view import require_idle
    from ocrvl_modal.errors import not_found, usage_error
    from ocrvl_modal.output import Output
    from ocrvl_modal.places import split_place

    out = Output.of("volume rm", json=json, quiet=quiet)
    if not split_place(place)[1].parts:
        raise usage_error(f"{place} is a whole store", f"ocrvl volume ls {place}, then remove what is in it by name")
    chosen = open_by_flag(backend)
    if not chosen.stores.exists(place):
        raise not_found(
            f"there is no {place} on the {chosen.name} backend",
            f"ocrvl volume ls {place.rstrip('/').rpartition('/')[0]}",
        )
    require_idle(chosen, place)
    out.confirm(f"Remove {place} from {chosen.where(split_place(place)[0])} for good?", yes=yes)
    chosen.stores.remove(place)
    out.finish({"place": place}, human=lambda: [f"{place} is gone"])


@app.command()
def check(backend: BackendOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Write, read and remove a small file in each store, and say what does not work.

    \b
    Example:
      ocrvl volume check
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.probing import probe_stores
    from ocrvl_modal.errors import ExitCode
    from ocrvl_modal.output import Output

    out = Output.of("volume check", json=json, quiet=quiet)
    probes = probe_stores(open_by_flag(backend))
    failed = [probe for probe in probes if probe.problem]
    out.finish(
        {"stores": [probe.to_dict() for probe in probes]},
        human=lambda: [_probes_table(probes)],
        hint=failed[0].hint if failed else "",
        exit_code=ExitCode.FAILED if failed else ExitCode.OK,
    )


def _probes_table(probes: list[Probe]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("store", "where", "works", "seconds"):
        table.add_column(header, overflow="fold")
    for probe in probes:
        table.add_row(f"/{probe.store}", probe.where, probe.problem or "yes", f"{probe.seconds:.1f}")
    return table


def _table(entries: list[StoreEntry]) -> Table:
    from rich import box
    from rich.table import Table

    from ocrvl_modal.report.words import ago, size

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("place", "size", "changed"):
        table.add_column(header, justify="right" if header == "size" else "left", overflow="fold")
    for entry in entries:
        table.add_row(
            entry.place + ("/" if entry.is_folder else ""),
            "" if entry.size_bytes is None else size(entry.size_bytes),
            ago(entry.modified_at),
        )
    return table
