"""``ocrvl download``: making base models and datasets present in the stores."""

from __future__ import annotations

from typing import Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption

app = typer.Typer(no_args_is_help=True, help="Fetch base models and datasets into the stores.")


@app.callback()
def download() -> None:
    """Fetch base models and datasets into the stores."""


@app.command()
def model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="0.9b, 1.5, 1.6 or tiny.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the model's repository.")] = "main",
    force: Annotated[bool, typer.Option("--force", help="Fetch it again although it is there.")] = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a base model; what is there already does not travel again.

    \b
    Example:
      ocrvl download model tiny
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.models import get_member
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import size

    out = Output.of("download model", json=json, quiet=quiet)
    member = get_member(name)
    place = open_by_flag(backend)
    with out.progress() as on_progress:
        result = place.call(
            "download", {"model": member.name, "revision": revision, "force": force}, on_progress=on_progress
        )
    how = "is in the models store" if result["fetched"] else "was in the models store already"
    out.finish(
        result,
        human=lambda: [f"{member.title} {how}: {result['place']} ({size(result['size_bytes'])})"],
        hint=f"ocrvl train --model {member.name} --data FILE",
    )


@app.command()
def dataset(
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="A dataset of the hub that holds .jsonl rows.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Its folder in the data store; the repository's own name else.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the repository.")] = "main",
    force: Annotated[bool, typer.Option("--force", help="Fetch it again, in place of what is there.")] = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a dataset into the data store; what is there already does not travel again.

    \b
    Example:
      ocrvl download dataset me/receipts --name receipts
    """
    import shlex

    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.errors import usage_error
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import check_name
    from ocrvl_modal.report.words import size

    out = Output.of("download dataset", json=json, quiet=quiet)
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise usage_error(f"'{repository}' is no OWNER/NAME of a hub", "a file of this machine: ocrvl volume put")
    folder = check_name(name or repository.rpartition("/")[2])
    place = open_by_flag(backend)
    asked = {"repository": repository, "name": folder, "revision": revision, "force": force}
    with out.progress() as on_progress:
        result = place.call("download_dataset", asked, on_progress=on_progress)
    how = "is in the data store" if result["fetched"] else "was in the data store already"
    out.finish(
        result,
        human=lambda: [f"{repository} {how}: {result['place']} ({size(result['size_bytes'])})", *result["rows"]],
        hint=f"ocrvl data check {shlex.quote(result['rows'][0])}",
    )
