"""A user's own ERNIEKit configuration: what of it a recipe says becomes the recipe's, the rest stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ocrvl_modal.engines.erniekit.keys import OURS, RECIPE_KEYS
from ocrvl_modal.errors import not_found, usage_error

_OFFICIAL_LEARNING_RATE = 5e-6


def read_user_config(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the recipe that a configuration file amounts to, and notes on what of it is not obeyed.

    Keys that a recipe knows become recipe keys, so that the plan is right and ``--set`` goes before them; all others
    become ``engine_config``. Raises *not found* for a missing file and a usage error for one that is no configuration.
    """
    content = _read(path)
    recipe: dict[str, Any] = {}
    for key, value in content.items():
        if key in RECIPE_KEYS and not _says_nothing(key, value, content):
            _put(recipe, RECIPE_KEYS[key], _as_recipe_has_it(key, value, content))
    if not _packs(content):
        _put(recipe, RECIPE_KEYS["packing_size"], content.get("batch_size", 1))
    recipe["engine_config"] = {key: value for key, value in content.items() if key not in (*RECIPE_KEYS, *OURS)}
    ignored = [key for key in content if key in OURS]
    notes = (f"{path.name}: ocrvl decides {', '.join(ignored)} for each run",) if ignored else ()
    return recipe, notes


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise not_found(f"there is no configuration {path}", "--config-path FILE.yaml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise usage_error(f"{path} is not YAML: {str(error).splitlines()[0]}", "see docs/engine-erniekit.md") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise usage_error(
            f"{path} is not a configuration: it must be a mapping of keys to values", "see docs/engine-erniekit.md"
        )
    return content


def _packs(content: Mapping[str, Any]) -> bool:
    return bool(content.get("packing", True))


def _says_nothing(key: str, value: Any, content: Mapping[str, Any]) -> bool:
    """Say whether a value stands for "not given", or belongs to what is switched off."""
    not_given = value is None or (key == "max_steps" and value == -1)
    return not_given or (key == "packing_size" and not _packs(content))


def _as_recipe_has_it(key: str, value: Any, content: Mapping[str, Any]) -> Any:
    if key == "min_lr":
        return _number(key, value) / _number("learning_rate", content.get("learning_rate", _OFFICIAL_LEARNING_RATE))
    if key == "packing_size":
        # Samples a forward pass: so many in each of so many sequences.
        return int(_number(key, value) * _number("batch_size", content.get("batch_size", 1)))
    return value


def _number(key: str, value: Any) -> float:
    """Read a number also where YAML 1.1 takes it for text, as it does ``5e-6``."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise usage_error(f"{key} must be a number, not {value!r}", f"{key}: 1") from error
    if number <= 0 and key != "min_lr":
        raise usage_error(f"{key} must be over 0, not {value!r}", f"{key}: 1")
    return number


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    section, dot, name = dotted.rpartition(".")
    if dot:
        tree.setdefault(section, {})[name] = value
    else:
        tree[name] = value
