"""``ocrvl data localize``: images that rows name by an address become files."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption


def localize(
    path: Annotated[str, typer.Argument(metavar="FILE", help="A .jsonl file here, or /data/… in the data store.")],
    out_folder: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Folder to make; FILE's name with -local by default.")
    ] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch the images that rows name by http(s):// or s3://, and write the rows anew beside them.

    Each address is asked for once, a server for a few at a time, and no sooner than it wants to be. A row whose image
    cannot be had is left out, and listed in DIR/missing.jsonl. Called again, it goes on with what is missing.

    \b
    Example:
      ocrvl data localize rows.jsonl --out rows-local
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.local import LocalBackend
    from ocrvl_modal.data.rows import require_file
    from ocrvl_modal.errors import usage_error
    from ocrvl_modal.output import Output
    from ocrvl_modal.places import is_place
    from ocrvl_modal.settings import home

    out = Output.of("data localize", json=json, quiet=quiet)
    folder = out_folder or str(PurePosixPath(path).parent / f"{PurePosixPath(path).stem}-local")
    if is_place(path) != is_place(folder):
        raise usage_error(f"{path} and {folder} are not on the same side", "--out of the same side as FILE")
    sides = [path, folder]
    if is_place(path):
        place = open_by_flag(backend)
    else:
        require_file(Path(path))
        place, sides = LocalBackend(home()), [str(Path(side).absolute()) for side in sides]
    with out.progress() as on_progress:
        result = place.call("localize_dataset", {"dataset": sides[0], "out": sides[1]}, on_progress=on_progress)
    rows = str(PurePosixPath(folder) / PurePosixPath(path).name)
    result |= {"folder": folder, "rows": rows}
    for warning in _of_missing(result["images"], folder):
        out.warn(warning)
    out.finish(result, human=lambda: _lines(result), hint=f"ocrvl data check {shlex.quote(rows)}")


def _lines(result: dict[str, Any]) -> list[str]:
    from ocrvl_modal.report.words import count

    images = result["images"]
    had = images["images"] - images["fetched"]
    return [
        f"{result['rows']}: {count(images['rows'] - images['left_out'])} rows",
        f"images: {count(images['fetched'])} fetched, {count(had)} had already, {count(images['missing'])} missing",
    ]


def _of_missing(images: dict[str, Any], folder: str) -> list[str]:
    """Return a warning where rows were left out, with the reasons and the first examples."""
    if not images["missing"]:
        return []
    from ocrvl_modal.report.words import count

    reasons = ", ".join(f"{reason} {count(number)}" for reason, number in images["reasons"].items())
    examples = [f"  line {one['line']}: {one['image']}: {one['detail']}" for one in images["examples"]]
    told = f"{count(images['left_out'])} of {count(images['rows'])} rows have no image and are left out: {reasons}"
    return ["\n".join([told, *examples, f"  all of them: {folder}/missing.jsonl"])]
