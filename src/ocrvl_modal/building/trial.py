"""Trying another version without editing the package: ``--pin numpy=1.26.3``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from packaging.version import InvalidVersion, Version

from ocrvl_modal.building.locks import plain_name
from ocrvl_modal.building.recipe import ImageRecipe, Layer
from ocrvl_modal.errors import did_you_mean, usage_error
from ocrvl_modal.pins import FRAMEWORK


def with_pins(recipes: Iterable[ImageRecipe], pins: Iterable[str]) -> list[ImageRecipe]:
    """Return the recipes with other versions, given as ``name=version``, wherever they pin that package.

    Raises a usage error for a package that none of them pins.
    """
    changed = list(recipes)
    for pin in pins:
        name, version = _parts(pin)
        known = {each for recipe in changed for each in _pinned_names(recipe)}
        if name not in known:
            raise usage_error(f"no layer pins '{name}'", did_you_mean(name, sorted(known)))
        changed = [replace(each, layers=tuple(_with_pin(x, name, version) for x in each.layers)) for each in changed]
    return changed


def _parts(pin: str) -> tuple[str, str]:
    name, _, version = pin.replace("==", "=").partition("=")
    try:
        # Written as it was given: another spelling of a version is another text for the cache.
        Version(version.strip())
    except InvalidVersion as error:
        raise usage_error(f"'{pin}' is no name=version", "such as --pin numpy=1.26.3") from error
    return plain_name(name.strip()), version.strip()


def _pinned_names(recipe: ImageRecipe) -> list[str]:
    names = [plain_name(name) for layer in recipe.layers if layer.kind == "python" for name in layer.pins]
    return [*names, FRAMEWORK] if recipe.framework else names


def _with_pin(layer: Layer, name: str, version: str) -> Layer:
    if layer.wheel and name == FRAMEWORK:
        return replace(layer, wheel=replace(layer.wheel, version=version))
    if layer.kind != "python" or name not in map(plain_name, layer.pins):
        return layer
    return replace(layer, pins={own: version if plain_name(own) == name else v for own, v in layer.pins.items()})
