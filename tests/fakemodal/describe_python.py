"""Run by the Python of the containers: says as JSON where it lives and which files some distributions have there."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def entries(name: str) -> set[str]:
    """Entries of site-packages that belong to a distribution, and its files elsewhere (its commands)."""
    try:
        there = distribution(name)
    except PackageNotFoundError:
        return set()
    tops = {file if file.parts[0] == ".." else file.parts[0] for file in there.files or ()}
    return {os.path.realpath(str(there.locate_file(top))) for top in tops}


def prefixes() -> set[str]:
    """Where this Python lives, with the places that lie on the way from its command to its program."""
    found = {sys.prefix, sys.base_prefix}
    command = Path(sys.executable)
    while command.is_symlink():
        command = command.parent / command.readlink()
        found.add(str(command.parent.parent))
    return found - {"/"}


print(
    json.dumps(
        {
            "prefixes": sorted(prefixes()),
            "version": ".".join(map(str, sys.version_info[:3])),
            "files": sorted(set().union(*map(entries, sys.argv[1:]))),
        }
    )
)
