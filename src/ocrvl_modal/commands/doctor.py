"""``ocrvl doctor``: whether what training needs really works, here and in the images on Modal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption, YesOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocrvl_modal.doctor.findings import Result
    from ocrvl_modal.output import Output

QuickOption = Annotated[
    bool, typer.Option("--quick", help="Only the three essential checks: Python, the engine's import, the GPU.")
]
GpuOption = Annotated[
    str | None,
    typer.Option(metavar="GPU", help="Rent this GPU on Modal for the checks that need one, such as L4 or H100:2."),
]
ChecksArgument = Annotated[list[str] | None, typer.Argument(metavar="CHECK", help="Only these checks.")]


def doctor(
    checks: ChecksArgument = None,
    remote: Annotated[bool, typer.Option("--remote", help="Look into the image that training on Modal uses.")] = False,
    image: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Look into this image on Modal; 'all' for every one.")
    ] = None,
    gpu: GpuOption = None,
    quick: QuickOption = False,
    yes: YesOption = False,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find out what works, on this machine or in the images on Modal, and what mends the rest.

    Exit code 1 where a check fails.

    \b
    Checks of this machine:
      packages settings token stores disk wheels
    Checks of this machine and of images:
      python deps model-files prompt shm disk-speed config
      transformers-import paddle paddleformers-import paddleformers-cmd
      ernie ernie-import ernie-cmd vllm-import
    Checks of a GPU:
      cuda paddle-gpu bf16 flash-attention nccl

    \b
    Example:
      ocrvl doctor
      ocrvl doctor --remote --gpu L4
      ocrvl doctor prompt model-files --image light
    """
    import time

    from ocrvl_modal.errors import usage_error
    from ocrvl_modal.output import Output
    from ocrvl_modal.upkeep.examination import Asked, chosen_images, examine_image, examine_machine
    from ocrvl_modal.upkeep.machine import Machine

    out = Output.of("doctor", json=json, quiet=quiet)
    goes_to_modal = remote or bool(image) or gpu is not None
    if goes_to_modal and backend == "local":
        raise usage_error("--remote, --image and --gpu look into images on Modal", "leave --backend local out")
    machine = Machine.of(backend, remote=goes_to_modal)
    asked = Asked(tuple(checks or ()), quick, gpu)
    images = chosen_images(image or ()) if goes_to_modal and asked.wants_job else []
    confirm_rent(out, gpu, images, yes=yes)
    began = time.monotonic()
    with out.progress() as on_progress:
        results = examine_machine(machine, asked, on_progress)
        for name in images:
            out.note(f"looking into the image '{name}' on Modal (its first build takes minutes)")
            results += examine_image(machine.backend, name, asked, on_progress)
    finish(out, results, time.monotonic() - began)


def confirm_rent(out: Output, gpu: str | None, images: Sequence[str], *, yes: bool) -> None:
    """Ask before a GPU is rented; raise a usage error for one that there is not."""
    from ocrvl_modal.gpus import parse_gpu

    if gpu is None or not images:
        return
    rented = parse_gpu(gpu)
    each = f" for each of {len(images)} images" if len(images) > 1 else ""
    out.confirm(f"Rent {rented} on Modal at ${rented.price_usd_per_hour} an hour, a few minutes{each}?", yes=yes)


def finish(out: Output, results: Sequence[Result], seconds: float) -> None:
    """Print what was found; exit with code 1 where anything failed."""
    from ocrvl_modal.errors import ExitCode
    from ocrvl_modal.report.doctor_table import counts, doctor_report

    numbers = counts(results)
    data = {
        "passed": numbers["pass"],
        "failed": numbers["fail"],
        "skipped": numbers["skip"],
        "seconds": round(seconds, 1),
        "checks": [result.model_dump(mode="json") for result in results],
    }
    out.finish(
        data,
        human=lambda: doctor_report(results, seconds),
        exit_code=ExitCode.FAILED if numbers["fail"] else ExitCode.OK,
    )
