"""Keeping secrets from engines and logs: some engines print their whole environment."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_SECRET_NAME = re.compile(r"TOKEN|SECRET|CREDENTIAL|APIKEY|PASS(WORD|WD|PHRASE)|(^|_)(KEYS?|PASS)($|_)", re.IGNORECASE)
# What base images, drivers, Modal and our own images set; their values, such as versions, are no secrets.
_ORDINARY_NAME = re.compile(
    r"(_|.*PATH|HOME|PWD|LANG|LC_.*|TERM.*|SHLVL|HOSTNAME|GPG_KEY|(PYTHON|LD_|CUDA|NV|OMP_|UV_|SSL_|DEBIAN_|OCRVL_|MODAL_).*)"
)
_SHORTEST = 6
_REMOVED = "[removed]"


def environment_for_engine(environment: Mapping[str, str], allowed: Collection[str]) -> dict[str, str]:
    """Return the variables that an engine inherits: all but secrets, save those that the recipe names."""
    return {name: value for name, value in environment.items() if name in allowed or not _SECRET_NAME.search(name)}


def given_variables(environment: Mapping[str, str]) -> Collection[str]:
    """Return the variables that a host with only the user's own secrets has from those, whatever they are called.

    Modal tells a container the values of a secret, and not which variables came with it.
    """
    return [name for name in environment if not _ORDINARY_NAME.fullmatch(name)]


class Redactor:
    """Takes the values of secrets out of lines, whether the engine was given them or not."""

    def __init__(self, environment: Mapping[str, str], named: Collection[str]) -> None:
        secrets = [value for name, value in environment.items() if name in named or _SECRET_NAME.search(name)]
        # A log shows a secret of several lines, such as a private key, one line at a time.
        lines = {line.strip() for secret in secrets for line in secret.splitlines()}
        longest_first = sorted((line for line in lines if len(line) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, line: str) -> str:
        """Return ``line`` without any secret."""
        return self._pattern.sub(_REMOVED, line) if self._pattern else line
