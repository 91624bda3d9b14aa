"""Whose images a build on Modal makes, told from settings alone: no request, and no import of Modal's client."""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from ocrvl_modal.pins import IMAGE_BUILDER

_BUILDER_VARIABLE = "MODAL_IMAGE_BUILDER_VERSION"


def account_key(environment: Mapping[str, str] | None = None) -> str:
    """Return a name for the workspace and the environment that a build goes to, fit for a folder.

    It is made of a digest of the token's id, which is the public half of a token.
    """
    environ = os.environ if environment is None else environment
    profile = _profile(environ)
    token = environ.get("MODAL_TOKEN_ID") or profile.get("token_id", "")
    where = environ.get("MODAL_ENVIRONMENT") or profile.get("environment", "")
    who = hashlib.sha256(token.encode()).hexdigest()[:12] if token else "nobody"
    return f"{who}-{where}" if where else who


def builder_version(environment: Mapping[str, str] | None = None) -> str:
    """Return the version of Modal's image builder that builds: the user's own choice, or ours."""
    environ = os.environ if environment is None else environment
    return environ.get(_BUILDER_VARIABLE) or _profile(environ).get("image_builder_version") or IMAGE_BUILDER


def settle_builder() -> None:
    """Have Modal's client build with :func:`builder_version`. Called before the client is first asked for anything."""
    os.environ[_BUILDER_VARIABLE] = builder_version()


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the profile that Modal's client would use; its file keeps to what INI files share."""
    path = Path(environ.get("MODAL_CONFIG_PATH") or Path.home() / ".modal.toml")
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        # Modal's client says what is wrong with it, when it is asked for something.
        return {}
    wanted = environ.get("MODAL_PROFILE")
    for name in parser.sections():
        values = {key: value.strip().strip("\"'") for key, value in parser[name].items()}
        if name == wanted or (wanted is None and values.get("active") == "true"):
            return values
    return {}
