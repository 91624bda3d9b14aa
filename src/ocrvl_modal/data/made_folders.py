"""Folders of files that a command made: replaced by the same command, and by nothing else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.errors import usage_error


@dataclass(frozen=True)
class Making:
    """How a command knows a folder that it made.

    ``marker`` is the JSON file in it whose ``made_by`` is ``maker``, ``names`` are the files that may stand beside it,
    ``what`` is what the folder holds, in words, and ``example`` a name for such a folder.
    """

    marker: str
    maker: str
    names: frozenset[str]
    what: str
    example: str

    def made(self, folder: Path) -> bool:
        """Say whether an earlier call made all that is in ``folder``."""
        found = {entry.name for entry in folder.iterdir()}
        if self.marker not in found or not found <= {self.marker, *self.names}:
            return False
        try:
            marker = json.loads((folder / self.marker).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(marker, dict) and marker.get("made_by") == self.maker


def require_replaceable(out: Path, making: Making, also: Callable[[Path], bool] = lambda _folder: True) -> None:
    """Let only a new folder, an empty one or one of ours be written over; ``also`` must hold for one of ours.

    Raises a usage error for the working folder, for a file, and for a folder with anything else in it.
    """
    folder = out.resolve()
    if folder == Path.cwd() or folder in Path.cwd().parents:
        raise usage_error("the folder that the command runs in cannot be replaced", f"--out {making.example}")
    if folder.is_file():
        raise usage_error(f"{out} is a file", f"--out {shlex.quote(str(out))}-{making.example}")
    if folder.is_dir() and any(folder.iterdir()) and not (making.made(folder) and also(folder)):
        raise usage_error(
            f"{out} holds files that are not {making.what}", f"--out {shlex.quote(str(out / making.example))}"
        )


def require_outside(file: Path, out: Path) -> None:
    """Raise a usage error where ``file``, which is read, lies in the folder that is to be replaced."""
    if file.resolve().is_relative_to(out.resolve()):
        raise usage_error(f"{file} lies in {out}, which would be replaced", "--out another-folder")
