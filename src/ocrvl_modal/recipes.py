"""Recipes in and out: from what a user wrote to one validated recipe, and back to YAML that reads equal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ocrvl_modal.errors import OcrvlError, did_you_mean, first_line, not_found, usage_error
from ocrvl_modal.models import FamilyMember, find_member, get_member
from ocrvl_modal.recipe_edits import assign, merge, parse_set, unknown_key
from ocrvl_modal.recipe_schema import TrainRecipe, flatten

__all__ = [
    "NAME_PATTERN",
    "TrainRecipe",
    "check_name",
    "dump_recipe",
    "dump_value",
    "flatten",
    "parse_recipe",
    "read_recipe_file",
    "recipe_from",
]

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""A run's name is a folder's name on every backend and part of a Modal app's name."""


def recipe_from(
    user: Mapping[str, Any], sets: Iterable[str] = (), *, family: FamilyMember | None = None
) -> TrainRecipe:
    """Build a recipe from what the user wrote, ``--set`` overrides and the model's own training defaults.

    ``family`` names the member where the model is a folder. Raises a usage error for an unknown key (with the nearest
    known one) or a value of the wrong kind, and *not found* for an unknown ``model.family``. Whether ``model.name`` can
    be had is for the backend to say: it may be a folder there.
    """
    written = merge({}, user)
    for assignment in sets:
        key, value = parse_set(assignment)
        assign(written, key, value)
    user_only = _validate(written)
    named = get_member(user_only.model.family) if user_only.model.family else find_member(user_only.model.name)
    member = family or named
    defaults = member.training_defaults.get(user_only.method, {}) if member else {}
    return _validate(merge(defaults, written))


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Return what a recipe file says, unvalidated.

    Raises *not found* for a missing file, and a usage error for one that is not YAML or is not a mapping.
    """
    if not path.is_file():
        raise not_found(f"there is no recipe {path}", "ocrvl recipe ls")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise usage_error(f"{path} is not YAML{line}: {first_line(error)}", f"ocrvl recipe check {path}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise usage_error(f"{path} is not a recipe: it must be a mapping of keys to values", "ocrvl recipe ls")
    return content


def parse_recipe(text: str | bytes, origin: str) -> TrainRecipe:
    """Read a run's resolved recipe; raise a usage error that names ``origin`` where it is damaged."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise usage_error(f"{origin} is damaged: {first_line(error)}", "train under another --name") from error
    if not isinstance(content, dict):
        raise usage_error(f"{origin} is damaged: it holds no recipe", "train under another --name")
    return recipe_from(content)


def dump_recipe(recipe: TrainRecipe) -> str:
    """Return the recipe as YAML that reads back equal."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def dump_value(value: Any) -> str:
    """Return a value as it would stand after its key in a recipe file, on one line."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    """Quotes text with invisible characters, some of which would come back as spaces."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def check_name(name: str) -> str:
    """Return ``name`` when it can name a run, else raise a usage error with one that can."""
    if not NAME_PATTERN.fullmatch(name):
        mended = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:63] or "my-run"
        raise usage_error(
            f"'{name}' cannot name a run: use letters, digits, '-', '_' and '.', at most 63", f"--name {mended}"
        )
    return name


def _validate(content: Mapping[str, Any]) -> TrainRecipe:
    try:
        return TrainRecipe.model_validate(content)
    except ValidationError as error:
        raise _as_usage_error(error) from error
    except OcrvlError as error:
        raise usage_error(error.message, error.hint) from error


def _as_usage_error(error: ValidationError) -> OcrvlError:
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return unknown_key(key)
    if first["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        hint = did_you_mean(str(first["input"]), allowed)
        return usage_error(f"recipe key '{key}' cannot be {first['input']!r}", hint)
    message = first["msg"].removeprefix("Value error, ")
    return usage_error(
        f"recipe key '{key or 'recipe'}': {message} (got {first['input']!r})", "ocrvl recipe show default"
    )
