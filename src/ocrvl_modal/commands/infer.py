"""``ocrvl infer``: read images with a base model or with what a run made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.errors import ExitCode, usage_error

if TYPE_CHECKING:
    from ocrvl_modal.backends.base import Backend
    from ocrvl_modal.data.sources import SourceImage


def infer(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Images, folders of images (searched deeply), or URLs.")
    ],
    run: Annotated[str | None, typer.Option(help="Read with the model that this run made.")] = None,
    model: Annotated[
        str | None, typer.Option(help="0.9b, 1.5, 1.6, tiny, or a folder that holds a model; 1.6 by default.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="text|table|formula|chart|spotting|seal", help="What to read; text by default."),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="The words of a task of your own, in place of --task.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write NAME.md and NAME.json for each image here, not to the terminal."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest reading of an image; 8192 by default.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images read at once; 8 by default.")] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read images.

    An image that cannot be read does not stop the others; the exit code is 3 then.

    \b
    Examples:
      ocrvl infer page.png --run first
      ocrvl infer scans/ --model 1.6 --task table --out tables
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.reading import files_at, image_request
    from ocrvl_modal.data.sources import collect_images
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.readings import complaints, readings_as_text

    if run and model:
        raise usage_error("--run and --model both name a model", "give one of them")
    if task and prompt is not None:
        raise usage_error("--task and --prompt both say what to read", "give one of them")
    if out and out.exists() and not out.is_dir():
        raise usage_error(f"--out {out} is a file", "name a folder")
    output = Output.of("infer", json=json, quiet=quiet)
    place = open_by_flag(backend)
    reference = _locate(place, run, model)
    found = collect_images(images, lambda folder: files_at(place, folder))
    asked = {"task": task, "prompt": prompt, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    request = {
        "model": reference,
        "images": [image_request(place, image) for image in found],
        **{key: value for key, value in asked.items() if value is not None},
    }
    with output.progress() as on_progress:
        result = place.call("infer", request, on_progress=on_progress)
    items = result["items"]
    for complaint in (*result.pop("warnings"), *complaints(items)):
        output.warn(complaint)
    written = _write(out, found, result) if out else []
    failed = sum(item["error"] is not None for item in items)
    output.finish(
        {**result, "failed": failed},
        human=lambda: written if out else readings_as_text(items),
        exit_code=ExitCode.DATA_INVALID if failed else ExitCode.OK,
    )


def _locate(place: Backend, run: str | None, model: str | None) -> str:
    from ocrvl_modal.backends.reading import find_export, locate_model
    from ocrvl_modal.backends.runs_view import load_run
    from ocrvl_modal.models import DEFAULT_MODEL

    return find_export(place, load_run(place, run)) if run else locate_model(place, model or DEFAULT_MODEL)


def _write(folder: Path, images: list[SourceImage], result: dict[str, Any]) -> list[str]:
    """Write the files of every image that was read, name them in its item, and return a line for each."""
    from ocrvl_modal.report.readings import write_reading

    lines = []
    for image, item in zip(images, result["items"], strict=True):
        if item["error"] is None:
            paths = write_reading(folder, image.stem, item, result)
            item["files"] = [str(path) for path in paths]
            lines.append(f"{image.name} -> {paths[0]}")
    return lines
