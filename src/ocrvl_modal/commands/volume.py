"""``ocrvl volume``: looking into the stores, and copying in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption, YesOption

if TYPE_CHECKING:
    from rich.table import Table

    from ocrvl_modal.backends.base import StoreEntry
    from ocrvl_modal.upkeep.probing import Probe

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
    from ocrvl_modal.errors import ExitCode
    from ocrvl_modal.output import Output
    from ocrvl_modal.upkeep.probing import probe_stores

    out = Output.of("volume check", json=json, quiet=quiet)
    probes = probe_stores(open_by_flag(backend))
    failed = [probe for probe in probes if probe.problem]
    out.finish(
        {"stores": [probe.to_dict() for probe in probes]},
        human=lambda: [_probes_table(probes)],
        hint=failed[0].hint if failed else "",
        exit_code=ExitCode.FAILED if failed else ExitCode.OK,
    )


@app.command()
def du(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="A store or a folder in one, such as /outputs.")] = "/",
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show how much lies in each folder, and what it costs a month.

    \b
    Example:
      ocrvl volume du
      ocrvl volume du /outputs/first
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.storage_table import price, sum_line, usage_table
    from ocrvl_modal.upkeep.collecting import usage_below

    out = Output.of("volume du", json=json, quiet=quiet)
    chosen = open_by_flag(backend)
    usages = usage_below(chosen, place)
    total = sum(usage.size_bytes for usage in usages)
    costs = chosen.name == "modal"
    out.finish(
        {
            "entries": [{**usage.to_dict(), **price(usage.size_bytes, costs=costs)} for usage in usages],
            "size_bytes": total,
            **price(total, costs=costs),
        },
        human=lambda: (
            [usage_table(usages, costs=costs), sum_line(total, costs=costs)] if usages else [f"{place} is empty"]
        ),
        hint="ocrvl volume gc --dry-run" if usages else "",
    )


@app.command()
def gc(
    older_than: Annotated[
        float,
        typer.Option("--older-than", metavar="DAYS", min=0, max=36500, help="Keep what changed within so many days."),
    ] = 7,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Complete checkpoints kept of each run that ended.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    yes: YesOption = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find what is of no more use in the stores, show it with its price, and ask before removing it.

    That is: older checkpoints of runs that ended, uploads that no run names, shards that no dataset names, unpacked
    copies of datasets, downloads that were broken off, wheels that no image pins, and what crashes left of writes.
    Nothing of a run that is at work is touched.

    \b
    Example:
      ocrvl volume gc --dry-run
      ocrvl volume gc --older-than 1 --keep 2 --yes
    """
    from datetime import timedelta

    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.output import Output, stderr_console
    from ocrvl_modal.report.storage_table import garbage_table, price, sum_line
    from ocrvl_modal.report.words import size
    from ocrvl_modal.upkeep.collecting import find_garbage, remove_garbage
    from ocrvl_modal.upkeep.garbage import Wanted

    out = Output.of("volume gc", json=json, quiet=quiet)
    chosen = open_by_flag(backend)
    wanted = Wanted(timedelta(days=older_than), keep)
    with out.progress() as on_progress:
        found, warnings = find_garbage(chosen, wanted, on_progress)
    for warning in warnings:
        out.warn(warning)
    total = sum(garbage.size_bytes for garbage in found)
    costs = chosen.name == "modal"
    data = {"garbage": [garbage.to_dict() for garbage in found], "size_bytes": total, **price(total, costs=costs)}
    if dry_run or not found:
        out.finish(
            {**data, "removed": [], "freed_bytes": 0},
            human=lambda: [garbage_table(found), sum_line(total, costs=costs)] if found else ["nothing to remove"],
            hint=f"ocrvl volume gc --older-than {older_than:g} --keep {keep}" if found else "",
        )
        return
    if not json:
        stderr_console().print(garbage_table(found))
    out.confirm(f"Remove these {len(found)} things for good: {sum_line(total, costs=costs)}?", yes=yes)
    with out.progress() as on_progress:
        gone, stays = remove_garbage(chosen, found, wanted, on_progress)
    for garbage in stays:
        out.warn(f"{garbage.place} stays: it came into use, or went by itself, since it was found")
    freed = sum(garbage.size_bytes for garbage in gone)
    out.finish(
        {**data, "removed": [garbage.place for garbage in gone], "freed_bytes": freed},
        human=lambda: [f"{len(gone)} removed, {size(freed)} freed"],
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
