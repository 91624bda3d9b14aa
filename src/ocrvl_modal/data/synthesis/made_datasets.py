"""The folders that made-up datasets are written to."""

from __future__ import annotations

import re
from pathlib import Path

from ocrvl_modal.data.made_folders import Making, require_replaceable

IMAGES = "images"
MARKER = "synth.json"
MAKER = "ocrvl data synth"
SPLITS = ("train", "validation", "test")

_IMAGE_NAME = re.compile(r"(train|validation|test)-\d+\.(png|jpg)")
_MAKING = Making(
    MARKER, MAKER, frozenset({IMAGES, *(f"{split}.jsonl" for split in SPLITS)}), "a made-up dataset", "digits"
)


def require_made_dataset(out: Path) -> None:
    """Let only a new folder, an empty one or an earlier made-up dataset be written over; raise a usage error."""
    require_replaceable(out, _MAKING, _is_whole)


def _is_whole(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    if names != {MARKER, *_MAKING.names} or not (folder / IMAGES).is_dir():
        return False
    return all(_IMAGE_NAME.fullmatch(image.name) for image in (folder / IMAGES).iterdir())
