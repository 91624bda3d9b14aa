"""``ocrvl data pull``: get a stored dataset back as files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.errors import usage_error


def pull(
    dataset: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Its newest version where none is named.")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to make; ./NAME by default.")
    ] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Get a dataset of the data store as rows and images, verified.

    \b
    Example:
      ocrvl data pull digits --out digits-again
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.dataset_pull import pull as pull_dataset
    from ocrvl_modal.backends.dataset_store import load_index
    from ocrvl_modal.data.shards.references import parse_reference
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import count, size

    out = Output.of("data pull", json=json, quiet=quiet)
    reference = parse_reference(dataset)
    if reference is None:
        raise usage_error(f"'{dataset}' is not the name of a dataset", "ocrvl data ls")
    place = open_by_flag(backend)
    index = load_index(place.stores, reference)
    if not reference.version:
        out.note(f"the newest version of {index.name} is {index.version}")
    folder = out_folder or Path(index.name)
    with out.progress() as on_progress:
        written = pull_dataset(place.stores, index, folder, on_progress)
    rows = {split: found.rows for split, found in index.splits.items()}
    data = {"dataset": index.reference, "folder": str(folder), "rows": rows, "images": index.images}
    first = shlex.quote(str(folder / f"{next(iter(rows))}.jsonl"))
    out.finish(
        {**data, "size_bytes": written},
        human=lambda: [
            *(f"{folder / split}.jsonl  {count(number)} rows" for split, number in rows.items()),
            f"{folder / 'images'}  {count(index.images)} images, {size(written)} in all",
        ],
        hint=f"ocrvl data check {first}",
    )
