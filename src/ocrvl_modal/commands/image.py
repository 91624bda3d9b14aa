"""``ocrvl image``: what jobs run in on Modal, what a build would do, and building."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption, YesOption
from ocrvl_modal.commands.doctor import ChecksArgument, GpuOption, QuickOption, confirm_rent, finish

if TYPE_CHECKING:
    from ocrvl_modal.building.outlook import Outlook
    from ocrvl_modal.building.recipe import ImageRecipe

app = typer.Typer(no_args_is_help=True, help="The images that jobs run in on Modal: what is in them, building them.")

_NAMES = "light, train-transformers, train-paddleformers, train-erniekit or serve-vllm"
PinOption = Annotated[
    list[str] | None,
    typer.Option("--pin", metavar="NAME=VERSION", help="Another version of a pinned package, for this once; repeat."),
]


@app.command()
def plan(
    images: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE]...", help=f"{_NAMES}; all else.")] = None,
    as_dockerfile: Annotated[bool, typer.Option("--dockerfile", help="Print the image as a Dockerfile.")] = False,
    pin: PinOption = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask Modal what is built and which wheels it has.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every package, every reason.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the layers of images, their pins and sizes, and which would be built anew, and why.

    It asks nothing of the network, and tells what this machine knows of the last build; --refresh asks Modal.

    \b
    Example:
      ocrvl image plan train-erniekit
      ocrvl image plan train-erniekit --pin numpy=1.26.3
      ocrvl image plan serve-vllm --dockerfile > Dockerfile
    """
    from ocrvl_modal.errors import usage_error
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.image_plan import plan_report

    out = Output.of("image plan", json=json, quiet=quiet)
    recipes = _recipes(images, pin)
    if as_dockerfile and len(recipes) != 1:
        raise usage_error("--dockerfile prints one image", f"ocrvl image plan {recipes[-1].name} --dockerfile")
    outlooks = _asked(recipes) if refresh else _known(recipes)
    if as_dockerfile:
        from ocrvl_modal.building.dockerfile import dockerfile

        text = dockerfile(outlooks[0].recipe, outlooks[0].builder)
        out.finish({"image": recipes[0].name, "dockerfile": text}, human=lambda: [text.rstrip("\n")])
        return
    waiting = [each.recipe.name for each in outlooks if each.rebuilt]
    told = [*waiting, *(f"--pin {each}" for each in pin or ())]
    out.finish(
        {"images": [each.to_dict() for each in outlooks]},
        human=lambda: plan_report(outlooks, verbose=verbose),
        hint=f"ocrvl image build {' '.join(told)}" if waiting else "",
    )


@app.command()
def build(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help=f"{_NAMES}.")],
    force: Annotated[bool, typer.Option("--force", help="Build every layer anew.")] = False,
    pin: PinOption = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build images on Modal; layers that were built before are taken from its cache.

    Jobs build what they need by themselves; this does it beforehand, and shows the lines of the build.

    \b
    Example:
      ocrvl image build train-erniekit
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.errors import usage_error
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.image_plan import build_report

    out = Output.of("image build", json=json, quiet=quiet)
    recipes = _recipes(images, pin)
    place = open_by_flag(backend)
    if place.name != "modal":
        raise usage_error(
            f"images are built on Modal, and this goes to the {place.name} backend",
            f"--backend modal, or build one yourself: ocrvl image plan {recipes[0].name} --dockerfile",
        )
    from ocrvl_modal.backends.image_builds import ImageBuilds

    builds = ImageBuilds(place.stores)
    done = [builds.build(builds.settled(each, out.note), force=force, show=out.talkative) for each in recipes]
    out.finish({"images": [each.to_dict() for each in done]}, human=lambda: build_report(done))


@app.command()
def check(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help=f"{_NAMES}.")],
    checks: ChecksArgument = None,
    gpu: GpuOption = None,
    quick: QuickOption = False,
    yes: YesOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the doctor's checks in a container of an image, which is built where it is not yet.

    \b
    Example:
      ocrvl image check train-erniekit
      ocrvl image check train-paddleformers bf16 flash-attention --gpu L4
    """
    import time

    from ocrvl_modal.output import Output
    from ocrvl_modal.upkeep.examination import Asked, chosen_images, examine_image
    from ocrvl_modal.upkeep.machine import Machine

    out = Output.of("image check", json=json, quiet=quiet)
    asked = Asked.of_an_image(checks or (), quick=quick, gpu=gpu)
    (name,) = chosen_images((image,))
    confirm_rent(out, gpu, (name,), yes=yes)
    out.note(f"looking into the image '{name}' on Modal (its first build takes minutes)")
    began = time.monotonic()
    with out.progress() as on_progress:
        results = examine_image(Machine.of(None, remote=True).backend, name, asked, on_progress)
    finish(out, results, time.monotonic() - began)


def _recipes(images: list[str] | None, pins: list[str] | None) -> list[ImageRecipe]:
    from ocrvl_modal.building.trial import with_pins
    from ocrvl_modal.image import IMAGES, get_image

    return with_pins([get_image(name) for name in dict.fromkeys(images or IMAGES)], pins or ())


def _known(recipes: list[ImageRecipe]) -> list[Outlook]:
    """Return what builds would do, as far as this machine knows."""
    from ocrvl_modal.building.account import account_key, builder_version
    from ocrvl_modal.building.known import offline_outlook
    from ocrvl_modal.building.record import Records
    from ocrvl_modal.settings import home

    records = Records(home(), account_key())
    return [offline_outlook(each, records, builder_version()) for each in recipes]


def _asked(recipes: list[ImageRecipe]) -> list[Outlook]:
    """Return what builds would do, after asking Modal."""
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.image_builds import ImageBuilds

    builds = ImageBuilds(open_by_flag("modal").stores)
    return [builds.outlook(each) for each in recipes]
