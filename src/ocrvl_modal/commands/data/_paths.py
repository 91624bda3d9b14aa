"""What the ``data`` commands mean by a path: a file of this machine, or a place in a store."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from ocrvl_modal.errors import usage_error


def resolve(reference: str) -> Path:
    """Return the path that a reference stands for on this machine."""
    from ocrvl_modal.places import Places
    from ocrvl_modal.settings import home

    return Places.under(home()).resolve(reference)


def readable(reference: str) -> Path:
    """Return a file of the rows that a reference names, with images that can be opened: of a stored dataset, too."""
    from ocrvl_modal.backends.local import LocalBackend
    from ocrvl_modal.settings import home

    return LocalBackend(home()).readable_path(reference)


def lasting(reference: str) -> Path:
    """Return the file that a reference names, whose images stay where they are, so that other rows may name them.

    Raises a usage error for a stored dataset, which is unpacked for a while only.
    """
    from ocrvl_modal.data.shards.references import is_stored, parse_reference

    stored = parse_reference(reference)
    if stored and is_stored(reference):
        pull = shlex.join(["ocrvl", "data", "pull", str(replace(stored, split="train"))])
        raise usage_error(
            f"{reference} lies packed in the data store, and new rows would name its images",
            f"get it first: {pull}",
        )
    return resolve(reference)
