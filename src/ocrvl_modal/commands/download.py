"""``ocrvl download``: making base models and datasets present in the stores."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.errors import ExitCode

if TYPE_CHECKING:
    from ocrvl_modal.data.checking.report import DatasetReport

DEFAULT_MODEL = "1.6"

SecretOption = Annotated[
    str | None,
    typer.Option("--secret", metavar="NAME", help="A Modal secret with what the source asks for, such as HF_TOKEN."),
]
LocalTokenOption = Annotated[
    bool,
    typer.Option("--use-local-token", help="Let HF_TOKEN of this machine travel to Modal, as a secret of this call."),
]

app = typer.Typer(no_args_is_help=True, help="Fetch base models and datasets into the stores.")


@app.callback()
def download() -> None:
    """Fetch base models and datasets into the stores."""


@app.command()
def model(
    name: Annotated[
        str, typer.Argument(metavar="MODEL", help="0.9b, 1.5, 1.6 or tiny; or OWNER/NAME of a hub's repository.")
    ] = DEFAULT_MODEL,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the model's repository.")] = "main",
    force: Annotated[bool, typer.Option("--force", help="Fetch it again although it is there.")] = False,
    secret: SecretOption = None,
    use_local_token: LocalTokenOption = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a base model, or any model of a hub, and verify it; what is there already does not travel again.

    A private or gated repository needs a token that may read it: --secret names a Modal secret with the key HF_TOKEN.
    On this machine, HF_TOKEN of the environment is used as it is.

    \b
    Example:
      ocrvl download model tiny
      ocrvl download model me/receipts-tuned --revision v2 --secret huggingface
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.jobs.download import folder_name
    from ocrvl_modal.models import find_member
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import size
    from ocrvl_modal.upkeep.tokens import access

    out = Output.of("download model", json=json, quiet=quiet)
    folder_name(name)
    place = open_by_flag(backend)
    granted = access(place, secret, use_local_token=use_local_token)
    asked = {"model": name, "revision": revision, "force": force}
    with out.progress() as on_progress:
        result = place.call(
            "download",
            asked,
            on_progress=on_progress,
            secrets=granted.secrets,
            local_secrets=granted.local_secrets,
        )
    member = find_member(name)
    how = "is in the models store" if result["fetched"] else "was in the models store already"
    at = f", {result['repository']} at {result['commit'][:12]}" if result["commit"] else ""
    out.finish(
        result,
        human=lambda: [
            f"{member.title if member else name} {how}: {result['place']} ({size(result['size_bytes'])}{at})"
        ],
        hint=f"ocrvl train --model {member.name if member else result['place']} --data FILE",
    )


@app.command()
def dataset(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="bengali, tibetan, OWNER/NAME of a hub, or https://…, s3://…, gs://…, az://…"
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its folder in the data store; the source's own name else.")] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Fetch the images that rows name, too.")] = True,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of a hub's repository.")] = "main",
    model: Annotated[str, typer.Option(help="Model whose prompts and image sizes the rows are checked for.")] = (
        DEFAULT_MODEL
    ),
    force: Annotated[bool, typer.Option("--force", help="Fetch it again, in place of what is there.")] = False,
    secret: SecretOption = None,
    use_local_token: LocalTokenOption = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a dataset with its images into the data store, and check it.

    Rows are files of .jsonl. Images that they name by an address are fetched and named by their content; a row whose
    image cannot be had is left out and listed in missing.jsonl beside the rows. Called again, what is here stays, and
    only what is missing is asked for.

    \b
    Example:
      ocrvl download dataset bengali
      ocrvl download dataset me/receipts --name receipts
      ocrvl download dataset https://example.org/receipts/train.jsonl
      ocrvl download dataset s3://bucket/receipts --secret aws
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.checking import Checking, check_datasets, demands_of
    from ocrvl_modal.jobs.fetching.addresses import parse_source
    from ocrvl_modal.models import get_member
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import check_name, recipe_from
    from ocrvl_modal.upkeep.tokens import access_to_dataset

    out = Output.of("download dataset", json=json, quiet=quiet)
    found = parse_source(source)
    folder = check_name(name or found.name)
    member = get_member(model)
    place = open_by_flag(backend)
    granted = access_to_dataset(place, found, secret, use_local_token=use_local_token)
    asked = {"source": source, "name": folder, "revision": revision, "images": images, "force": force}
    with out.progress() as on_progress:
        result = place.call(
            "download_dataset",
            asked,
            on_progress=on_progress,
            secrets=granted.secrets,
            local_secrets=granted.local_secrets,
        )
        limit = recipe_from({"model": {"name": member.name}}).data.max_seq_len
        checking = Checking(member.name, demands_of(member, limit))
        splits = {PurePosixPath(rows).stem: rows for rows in result["rows"]} if images else {}
        reports = check_datasets(place, splits, checking, on_progress) if splits else {}
    for warning in (*_of_missing_images(result), *(line for one in reports.values() for line in one.warning_lines())):
        out.warn(warning)
    is_valid = all(report.is_valid for report in reports.values())
    out.finish(
        {**result, "reports": {split: report.to_dict() for split, report in reports.items()}},
        human=lambda: _dataset_lines(result, reports, limit),
        hint=_dataset_hint(result, member.name, is_valid=is_valid and bool(reports)),
        exit_code=ExitCode.OK if is_valid else ExitCode.DATA_INVALID,
    )


def _dataset_lines(result: dict[str, Any], reports: Mapping[str, DatasetReport], limit: int) -> list[Any]:
    from ocrvl_modal.commands.data import show_report
    from ocrvl_modal.report.words import count, size

    how = "is in the data store" if result["fetched"] else "was in the data store already"
    lines: list[Any] = [f"{result['source']} {how}: {result['place']} ({size(result['size_bytes'])})"]
    if (images := result["images"]) and images["images"]:
        lines.append(f"images: {count(images['images'])}, {count(images['fetched'])} of them fetched now")
    for report in reports.values():
        lines += ["", *show_report(report, limit)]
    return lines if reports else [*lines, *result["rows"]]


def _of_missing_images(result: dict[str, Any]) -> list[str]:
    """Return a warning where rows were left out, with the reasons and the first examples."""
    images = result["images"]
    if not images or not images["missing"]:
        return []
    from ocrvl_modal.report.words import count

    reasons = ", ".join(f"{reason} {count(number)}" for reason, number in images["reasons"].items())
    examples = [f"  {one['file']} line {one['line']}: {one['image']}: {one['detail']}" for one in images["examples"]]
    told = f"{count(images['left_out'])} of {count(images['rows'])} rows have no image and are left out: {reasons}"
    return ["\n".join([told, *examples, f"  all of them: {result['place']}/missing.jsonl"])]


def _dataset_hint(result: dict[str, Any], model: str, *, is_valid: bool) -> str:
    if not result["rows"]:
        return ""
    train = next((rows for rows in result["rows"] if rows.endswith("/train.jsonl")), result["rows"][0])
    file = shlex.quote(train)
    return f"ocrvl train --data {file} --model {model}" if is_valid else f"ocrvl data check {file}"
