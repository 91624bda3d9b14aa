"""What was read in images: as files, and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ocrvl_modal import files


def write_reading(folder: Path, stem: str, item: Mapping[str, Any], result: Mapping[str, Any]) -> list[Path]:
    """Write one image's text to ``<stem>.md``, and all that is known of it to ``<stem>.json``; return both paths."""
    # Not with_suffix: a stem may have a point of its own.
    text, facts = folder / f"{stem}.md", folder / f"{stem}.json"
    files.write_text(text, item["text"].rstrip("\n") + "\n")
    files.write_json(
        facts,
        {
            "schema": 1,
            "image": item["name"],
            "model": result["model"],
            "family": result["family"],
            "prompt": result["prompt"],
            "text": item["text"],
            "tokens": item["tokens"],
            "truncated": item["truncated"],
        },
    )
    return [text, facts]


def readings_as_text(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the texts for the terminal: the bare text of one image, several under the names of their images."""
    if len(items) == 1:
        return [item["text"] for item in items if item["error"] is None]
    return [f"==> {item['name']} <==\n{item['text']}\n" for item in items if item["error"] is None]


def complaints(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the user should know of readings that failed or were cut off."""
    failed = [f"{item['name']} was not read: {item['error']}" for item in items if item["error"] is not None]
    cut_off = [
        f"{item['name']} was cut off after {item['tokens']} tokens; the text most likely repeats itself"
        for item in items
        if item["truncated"]
    ]
    return failed + cut_off
