"""The same image as a Dockerfile, for those who build elsewhere."""

from __future__ import annotations

import json

from ocrvl_modal.building.recipe import ImageRecipe, WheelSource
from ocrvl_modal.building.steps import BASE, Step, steps_of
from ocrvl_modal.errors import usage_error
from ocrvl_modal.pins import PYTHON_RELEASE, PYTHON_STANDALONE

_MOUNT = "/wheels"
_STANDALONE = "https://github.com/astral-sh/python-build-standalone/releases/download"


def dockerfile(recipe: ImageRecipe, builder: str) -> str:
    """Return a Dockerfile (BuildKit) that does what the build on Modal does, step by step.

    A wheel that is not taken from the index is expected in ``wheels/`` beside it, under its published name.
    """
    if recipe.framework and recipe.wheel_source and recipe.wheel_source.origin != "index":
        path = f"{_MOUNT}/{recipe.framework.file_name}"
        recipe = recipe.with_wheel(WheelSource("folder", path, recipe.wheel_source.sha256))
    lines = [
        "# syntax=docker/dockerfile:1",
        f"# The image '{recipe.name}' of ocrvl: {recipe.purpose}.",
        f"# Made by `ocrvl image plan {recipe.name} --dockerfile`. Jobs of ocrvl import what is in it.",
        f"# docker build --tag ocrvl-{recipe.name} --file FILE .",
    ]
    if any(step.mounts_wheels for step in steps_of(recipe, builder)):
        lines.append(f"# The folder beside it must have {recipe.framework and recipe.framework.file_name} in wheels/.")
    for step in steps_of(recipe, builder):
        lines += ["", f"# {step.name}: {step.reason}", *_instructions(recipe, step)]
    return "\n".join(lines) + "\n"


def _instructions(recipe: ImageRecipe, step: Step) -> list[str]:
    if step.name == BASE:
        return [f"FROM {recipe.base.reference}", *([] if recipe.base.has_python else _python())]
    if step.variables:
        return [f"ENV {name}={json.dumps(value)}" for name, value in step.variables.items()]
    for command in step.commands:
        if "\n" in command:
            raise usage_error(f"the layer '{step.name}' has a command of several lines", "write it as several commands")
    mount = f"--mount=type=bind,source=wheels,target={_MOUNT} " if step.mounts_wheels else ""
    return [f"RUN {mount}{command}" for command in step.commands]


def _python() -> list[str]:
    """Return how NVIDIA's base loses its banner, and gets the Python that Modal's builder would give it."""
    archive = f"cpython-{PYTHON_RELEASE}%2B{PYTHON_STANDALONE}-x86_64-unknown-linux-gnu-install_only.tar.gz"
    return [
        "ENTRYPOINT []",
        f"ADD {_STANDALONE}/{PYTHON_STANDALONE}/{archive} /tmp/python.tar.gz",
        "RUN tar --extract --gzip --file /tmp/python.tar.gz --strip-components 1 --directory /usr/local"
        " && rm /tmp/python.tar.gz",
    ]
