"""Where ``ocrvl`` keeps its things, and which backend a command goes to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal.errors import did_you_mean, usage_error

BACKENDS = ("local", "modal")
_SETTINGS_KEYS = ("backend",)


@dataclass(frozen=True)
class BackendChoice:
    """Which backend was chosen, and what chose it (``--backend``, ``OCRVL_BACKEND``, …)."""

    name: str
    because: str


def home() -> Path:
    """Return the folder of the local stores and the settings: ``OCRVL_HOME``, else ``~/.ocrvl``."""
    configured = os.environ.get("OCRVL_HOME")
    return Path(configured).expanduser().absolute() if configured else Path.home() / ".ocrvl"


def settings_file() -> Path:
    """Return the settings file's path: ``settings.yaml`` in :func:`home`."""
    return home() / "settings.yaml"


def load_settings() -> dict[str, Any]:
    """Return what the settings file says; nothing where there is none.

    Raises a usage error where it is not YAML, or has a key that we do not know.
    """
    path = settings_file()
    if not path.is_file():
        return {}
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise usage_error(f"{path} is not YAML: {str(error).splitlines()[0]}", f"mend or remove {path}") from error
    if not isinstance(content, dict):
        raise usage_error(f"{path} must be a mapping, such as 'backend: local'", f"mend or remove {path}")
    for key in content:
        if key not in _SETTINGS_KEYS:
            raise usage_error(f"{path} has an unknown key '{key}'", did_you_mean(str(key), _SETTINGS_KEYS))
    return content


def choose_backend(flag: str | None, environment: Mapping[str, str] | None = None) -> BackendChoice:
    """Return where a command goes.

    In order: the flag, ``OCRVL_BACKEND``, the settings file, ``modal`` where a Modal token is configured, ``local``.
    Raises a usage error for an unknown name, wherever it was written.
    """
    environ = os.environ if environment is None else environment
    if flag:
        return BackendChoice(_known_backend(flag, "--backend"), "--backend")
    if from_environment := environ.get("OCRVL_BACKEND"):
        return BackendChoice(_known_backend(from_environment, "OCRVL_BACKEND"), "OCRVL_BACKEND")
    if from_file := load_settings().get("backend"):
        return BackendChoice(_known_backend(str(from_file), str(settings_file())), str(settings_file()))
    if has_modal_token(environ):
        return BackendChoice("modal", "a Modal token is configured")
    return BackendChoice("local", "no Modal token is configured")


def _known_backend(name: str, origin: str) -> str:
    if name not in BACKENDS:
        raise usage_error(f"{origin} names an unknown backend '{name}'", did_you_mean(name, BACKENDS))
    return name


def has_modal_token(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether a Modal token is configured; whether Modal knows it is another matter."""
    environ = os.environ if environment is None else environment
    if environ.get("MODAL_TOKEN_ID") and environ.get("MODAL_TOKEN_SECRET"):
        return True
    config = Path(environ.get("MODAL_CONFIG_PATH") or Path.home() / ".modal.toml")
    return config.is_file() and "token_id" in config.read_text(encoding="utf-8", errors="replace")
