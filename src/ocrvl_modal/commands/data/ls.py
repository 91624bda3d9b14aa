"""``ocrvl data ls``: which datasets are in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocrvl_modal.backends.base import Backend
    from ocrvl_modal.data.shards.index import DatasetIndex


def list_datasets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="All versions of one dataset, with the runs that use them.")
    ] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the datasets in the data store, the newest first.

    \b
    Examples:
      ocrvl data ls
      ocrvl data ls digits
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.dataset_store import list_datasets, load_index
    from ocrvl_modal.data.shards.references import DatasetReference, check_word
    from ocrvl_modal.output import Output

    out = Output.of("data ls", json=json, quiet=quiet)
    place = open_by_flag(backend)
    found, errors = list_datasets(place.stores, check_word(name, "name") if name else None)
    if name and not found and not errors:
        load_index(place.stores, DatasetReference(name, None))
    for error in errors:
        out.warn(error.message)
    users = _runs_by_dataset(place, found) if name else {}
    out.finish(
        {"datasets": [_data(index, users if name else None) for index in found]},
        human=lambda: [_table(found, users if name else None)] if found else ["no dataset in the data store yet"],
        hint="" if found else "ocrvl data push FILE",
    )


def _runs_by_dataset(place: Backend, found: Sequence[DatasetIndex]) -> dict[str, list[str]]:
    """Return the names of the runs that train on each version."""
    from ocrvl_modal.backends.runs_view import list_runs

    views, _ = list_runs(place)
    return {
        index.reference: [
            view.record.name for view in views if view.record.dataset.partition("/")[0] == index.reference
        ]
        for index in found
    }


def _data(index: DatasetIndex, users: Mapping[str, list[str]] | None) -> dict[str, Any]:
    data = {
        "dataset": index.reference,
        "name": index.name,
        "version": index.version,
        "rows": {split: found.rows for split, found in index.splits.items()},
        "images": index.images,
        "size_bytes": index.size_bytes,
        "pushed_at": index.pushed_at,
        "automatic": index.automatic,
    }
    return data if users is None else {**data, "runs": users[index.reference]}


def _table(found: Sequence[DatasetIndex], users: Mapping[str, list[str]] | None) -> Any:
    from datetime import datetime

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ocrvl_modal.report.words import ago, count, size

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("dataset", "rows", "images", "size", "pushed", *(["runs"] if users is not None else [])):
        table.add_column(header, justify="right" if header in {"images", "size"} else "left", overflow="fold")
    for index in found:
        rows = " · ".join(f"{split} {count(held.rows)}" for split, held in index.splits.items())
        runs = [Text(", ".join(users[index.reference]))] if users is not None else []
        pushed = ago(datetime.fromisoformat(index.pushed_at)) + (" for a run" if index.automatic else "")
        table.add_row(Text(index.reference), rows, count(index.images), size(index.size_bytes), pushed, *runs)
    return table
