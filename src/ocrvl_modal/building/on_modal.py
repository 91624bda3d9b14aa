"""From the steps of an image to the ``modal.Image``: each step is one layer of Modal's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocrvl_modal.building.recipe import ImageRecipe
from ocrvl_modal.building.steps import BASE, Step, steps_of
from ocrvl_modal.pins import PYTHON
from ocrvl_modal.volumes import VOLUMES

if TYPE_CHECKING:
    import modal


def modal_image(recipe: ImageRecipe, builder: str) -> modal.Image:
    """Return the Modal image; it is built at its first use, and from then on taken from Modal's cache."""
    return modal_layers(recipe, builder)[-1][1]


def modal_layers(recipe: ImageRecipe, builder: str, *, force: bool = False) -> list[tuple[Step, modal.Image]]:
    """Return each step with the image that it ends in; ``force`` builds all anew."""
    layers: list[tuple[Step, modal.Image]] = []
    for step in steps_of(recipe, builder):
        image = _base(recipe, force=force) if step.name == BASE else _added(layers[-1][1], step)
        layers.append((step, image))
    return layers


def _base(recipe: ImageRecipe, *, force: bool) -> modal.Image:
    import modal

    if recipe.base.has_python:
        return modal.Image.from_registry(recipe.base.reference, force_build=force)
    # NVIDIA's images print a banner at each start, by their entry point.
    return modal.Image.from_registry(recipe.base.reference, add_python=PYTHON, force_build=force).entrypoint([])


def _added(image: modal.Image, step: Step) -> modal.Image:
    if step.variables:
        return image.env(dict(step.variables))
    wheels = VOLUMES["wheels"]
    return image.run_commands(*step.commands, volumes={wheels.mount: wheels.open()} if step.mounts_wheels else None)
