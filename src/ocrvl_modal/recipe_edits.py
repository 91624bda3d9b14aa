"""Laying one set of recipe values over another, and naming the key that was meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ocrvl_modal.errors import OcrvlError, did_you_mean, nearest, usage_error
from ocrvl_modal.recipe_schema import TrainRecipe, flatten


def known_keys() -> list[str]:
    """Return every key of a recipe, dotted."""
    return list(flatten(TrainRecipe()))


def unknown_key(key: str) -> OcrvlError:
    """Return the error of a key that no recipe has, with the one that was likely meant."""
    known = known_keys()
    section, _, last = key.rpartition(".")
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    beside = [name.rpartition(".")[2] for name in known if section and name.rpartition(".")[0] == section]
    if elsewhere:  # the right word in the wrong section is likelier than any slip of the pen
        hint = did_you_mean(key, elsewhere)
    elif beside:
        near = nearest(last, beside)
        hint = (
            f"did you mean '{section}.{near}'?"
            if near
            else "known: " + ", ".join(f"{section}.{name}" for name in beside)
        )
    else:
        hint = did_you_mean(key.partition(".")[0], dict.fromkeys(name.partition(".")[0] for name in known))
    return usage_error(f"unknown recipe key '{key}'", hint)


def parse_set(assignment: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE`` of ``--set``, and read the value as YAML."""
    key, equals, text = assignment.partition("=")
    key = key.strip()
    if not equals or not key:
        raise usage_error(f"--set {assignment} is not KEY=VALUE", "--set optimizer.learning_rate=1e-4")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise usage_error(f"--set {assignment}: the value is not YAML", f"--set {key}='\"…\"'") from error
    if _is_text(key):
        return key, value if isinstance(value, str | None) else text.strip()
    return key, _number(value)


def _is_text(dotted: str) -> bool:
    """Say whether a key holds text: there ``1.6`` or ``1234567`` is a name or a commit, not a number."""
    annotation: Any = TrainRecipe
    for part in dotted.split("."):
        fields = getattr(annotation, "model_fields", {})
        annotation = fields[part].annotation if part in fields else None
    return annotation in (str, str | None)


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-4`` as text, and every user means the number."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def assign(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a dotted key in a tree of mappings; raise a usage error for a key that no recipe has."""
    *parents, last = dotted.split(".")
    known = known_keys()
    if dotted not in known and not any(key.startswith(f"{dotted}.") for key in known):
        raise unknown_key(dotted)
    for part in parents:
        child = tree.setdefault(part, {})
        if not isinstance(child, dict):
            raise usage_error(f"recipe key '{part}' must be a mapping", "ocrvl recipe show default")
        tree = child
    tree[last] = value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on top, mapping by mapping; neither is changed."""
    merged = {key: merge({}, value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged
