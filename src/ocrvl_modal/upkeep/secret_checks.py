"""Whether secrets are there, with the keys that somebody needs; their values are never looked at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.jobs.fetching.hub import TOKEN
from ocrvl_modal.recipes import TrainRecipe


@dataclass(frozen=True)
class SecretCheck:
    """One secret, or on this machine one variable of the environment. ``hint`` makes it where it is not there."""

    name: str
    keys: tuple[str, ...]
    is_there: bool
    problem: str = ""
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the check as it stands in JSON output."""
        return {**asdict(self), "keys": list(self.keys)}


def secrets_of(recipe: TrainRecipe) -> dict[str, tuple[str, ...]]:
    """Return the secrets that a recipe names, each with the keys that it must have."""
    named: dict[str, tuple[str, ...]] = dict.fromkeys(recipe.secrets, ())
    return {**named, recipe.hf_secret: (TOKEN,)} if recipe.hf_secret else named


def check_secrets(backend: Backend, wanted: Mapping[str, tuple[str, ...]]) -> list[SecretCheck]:
    """Look for each secret: on Modal by its name; on this machine for the variables that stand for it."""
    if backend.name != "modal":
        variables = dict.fromkeys(key for name, keys in wanted.items() for key in keys or (name,))
        return [_check_variable(name) for name in variables]
    return [_check_secret(name, keys) for name, keys in wanted.items()]


def _check_variable(name: str) -> SecretCheck:
    if os.environ.get(name):
        return SecretCheck(name, (), is_there=True)
    return SecretCheck(name, (), False, f"{name} is not set on this machine", f"export {name}=…")


def _check_secret(name: str, keys: tuple[str, ...]) -> SecretCheck:
    from ocrvl_modal.backends.modal_words import require_secrets

    try:
        require_secrets((name,), keys)
    except OcrvlError as error:
        if error.code != ExitCode.NOT_FOUND:
            raise
        return SecretCheck(name, keys, False, error.message, error.hint)
    return SecretCheck(name, keys, is_there=True)
