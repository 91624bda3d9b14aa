"""``ocrvl data push``: put a dataset next to the GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from ocrvl_modal.backends.dataset_push import Pushed


def push(
    path: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="train.jsonl, or the folder that holds it.")],
    name: Annotated[str | None, typer.Option(help="The dataset's name; its folder's by default.")] = None,
    version: Annotated[str | None, typer.Option(help="The version's name; told from the content by default.")] = None,
    validation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Validation rows; validation.jsonl beside train.jsonl if there.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Test rows; test.jsonl beside train.jsonl if there.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read what is in the store already too, and mend what is damaged.")
    ] = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Pack rows and images into the data store, under a name and a version.

    Only what the store lacks travels: a corrected label uploads rows, an image that is there already stays there. A
    push that was broken off goes on where it was.

    \b
    Examples:
      ocrvl data push digits
      ocrvl data push lines/train.jsonl --name lines --version v2 --backend modal
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.dataset_push import Asked, Desk, verify_by_job
    from ocrvl_modal.backends.dataset_push import push as push_dataset
    from ocrvl_modal.data.shards.references import check_word, name_for
    from ocrvl_modal.data.shards.splits import splits_at
    from ocrvl_modal.output import Output
    from ocrvl_modal.settings import home

    out = Output.of("data push", json=json, quiet=quiet)
    files = splits_at(path, validation=validation, test=test)
    asked = Asked(
        check_word(name, "name") if name else name_for(files["train"]),
        check_word(version, "version") if version else None,
    )
    place = open_by_flag(backend)
    with out.progress() as on_progress:
        find_damaged = verify_by_job(place, on_progress) if verify else None
        pushed = push_dataset(place.stores, files, asked, Desk.under(home()), on_progress, find_damaged)
    out.finish(
        _data(pushed),
        human=lambda: _show(pushed, place.where("data")),
        hint=f"ocrvl train --data {pushed.index.reference} --backend {place.name}",
    )


def _data(pushed: Pushed) -> dict[str, Any]:
    index = pushed.index
    return {
        "dataset": index.reference,
        "name": index.name,
        "version": index.version,
        "place": index.place,
        "rows": {split: found.rows for split, found in index.splits.items()},
        "images": index.images,
        "size_bytes": index.size_bytes,
        "shards": len(index.shards),
        "new_shards": len(pushed.new),
        "new_bytes": pushed.new_bytes,
    }


def _show(pushed: Pushed, where: str) -> list[str]:
    from ocrvl_modal.report.words import count, size

    index = pushed.index
    rows = ", ".join(f"{split} {count(found.rows)}" for split, found in index.splits.items())
    known = len(index.shards) - len(pushed.new)
    travelled = (
        f"{len(pushed.new)} of {len(index.shards)} shards travelled, {size(pushed.new_bytes)}; {known} were there"
        if pushed.new
        else f"nothing travelled: all {len(index.shards)} shards were there"
    )
    return [
        f"{index.reference}: {rows}; {count(index.images)} images, {size(index.size_bytes)}",
        f"{travelled}  ({where})",
    ]
