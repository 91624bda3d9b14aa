"""The images that rows name, wherever those lie, and rows that name them elsewhere: in both forms of rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


def references_in(line: str) -> tuple[str, ...]:
    """Return the images that a row names; none where the line is no row, which is for a check to tell."""
    return tuple(holder[key] for holder, key in holders_in(_row(line)))


def with_references(line: str, new: Mapping[str, str]) -> str:
    """Return a row with the images that are in ``new`` named as they are there; a line without them as it is."""
    return renamed(line, lambda reference: new.get(reference, reference))


def renamed(line: str, new_name: Callable[[str], str]) -> str:
    """Return a row with each image named as ``new_name`` has it; a line that does not change keeps its bytes."""
    row = _row(line)
    changed = False
    for holder, key in holders_in(row):
        name = new_name(holder[key])
        changed |= name != holder[key]
        holder[key] = name
    if not changed:
        return line
    text = json.dumps(row, ensure_ascii=False)
    # A half of a pair of surrogates can be written as an escape only.
    return text if _is_text(text) else json.dumps(row)


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row(line: str) -> Any:
    try:
        return json.loads(line) if _is_text(line) else None
    except (ValueError, RecursionError):
        return None


def holders_in(row: Any) -> list[tuple[Any, Any]]:
    """Return where a row, as JSON gives it, names its images: each a list or an object, and the index or key in it."""
    if not isinstance(row, dict):
        return []
    holders: list[tuple[Any, Any]] = []
    if isinstance(images := row.get("images"), list):
        holders += [(images, index) for index, image in enumerate(images) if isinstance(image, str)]
    if isinstance(infos := row.get("image_info"), list):
        holders += [(info, "image_url") for info in infos if isinstance(info, dict) and _has_image(info)]
    return holders


def _has_image(info: dict[str, Any]) -> bool:
    return isinstance(info.get("image_url"), str)
