"""Which checkpoints exist. One exists only when its ``COMPLETE.json`` does and agrees with its files."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.runs.layout import RunLayout, checkpoint_step

COMPLETE = "COMPLETE.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    step: int
    path: Path


def mark_complete(folder: Path, step: int) -> Checkpoint:
    """Write ``COMPLETE.json`` into a finished checkpoint: names, sizes and digests of all its files. Written last.

    Raises an ``OSError`` where there is nothing to mark.
    """
    listed = {
        str(path.relative_to(folder)): {"size_bytes": path.stat().st_size, "sha256": files.sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != COMPLETE
    }
    if not listed:
        raise FileNotFoundError(errno.ENOENT, "there is no file in the checkpoint", str(folder))
    files.write_json(folder / COMPLETE, {"schema": 1, "step": step, "files": listed})
    return Checkpoint(step, folder)


def problem_with(folder: Path, *, digests: bool = False) -> str | None:
    """Return why a checkpoint folder does not count, or ``None`` when it is complete.

    Sizes are always compared; ``digests`` also reads every file.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        listed = [(str(name), int(of["size_bytes"]), str(of["sha256"])) for name, of in manifest["files"].items()]
        step = int(manifest["step"])
    except FileNotFoundError:
        return f"{COMPLETE} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{COMPLETE} cannot be read"
    if not listed:
        return f"{COMPLETE} lists no file"
    if checkpoint_step(folder) not in (None, step):
        return f"{COMPLETE} says that it is of step {step}"
    for name, size_bytes, sha256 in listed:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size_bytes:
            return f"{name} has {path.stat().st_size} bytes of {size_bytes}"
        if digests and files.sha256_of(path) != sha256:
            return f"{name} has other content than was saved"
    return None


def read_complete(folder: Path) -> Checkpoint:
    """Return the complete checkpoint in ``folder``, which :func:`problem_with` found nothing wrong with."""
    manifest = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    return Checkpoint(int(manifest["step"]), folder)


def complete_checkpoints(layout: RunLayout) -> list[Checkpoint]:
    """Return the run's complete checkpoints by their sizes, oldest first."""
    found = [Checkpoint(step, folder) for step, folder in _folders(layout) if problem_with(folder) is None]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def newest_sound_checkpoint(layout: RunLayout) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint whose every byte is as it was saved, and what was set aside on the way to it.

    Newer folders that are incomplete or damaged are moved to :attr:`RunLayout.set_aside`, so that nothing loads them
    and the engine can write their names again.
    """
    notes: list[str] = []
    for step, folder in sorted(_folders(layout), reverse=True):
        problem = problem_with(folder, digests=True)
        if problem is None:
            return Checkpoint(step, folder), notes
        notes.append(f"{folder.name} was set aside: {problem}")
        set_aside(layout, folder)
    return None, notes


def set_aside(layout: RunLayout, folder: Path) -> Path:
    """Move a checkpoint to where it is kept but never loaded; return its new place."""
    layout.set_aside.mkdir(parents=True, exist_ok=True)
    number = 1
    while (target := layout.set_aside / f"{folder.name}.{number}").exists():
        number += 1
    return folder.replace(target)


def prune(layout: RunLayout, keep: int) -> list[int]:
    """Remove all but the newest ``keep`` complete checkpoints; return the steps that went."""
    doomed = complete_checkpoints(layout)[:-keep]
    for checkpoint in doomed:
        files.remove_folder(checkpoint.path)
    return [checkpoint.step for checkpoint in doomed]


def _folders(layout: RunLayout) -> list[tuple[int, Path]]:
    if not layout.checkpoints.is_dir():
        return []
    named = ((checkpoint_step(folder), folder) for folder in layout.checkpoints.iterdir() if folder.is_dir())
    return [(step, folder) for step, folder in named if step is not None]
