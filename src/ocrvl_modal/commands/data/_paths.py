"""What the ``data`` commands mean by a path: a file of this machine, or a place in a store."""

from __future__ import annotations

from pathlib import Path


def resolve(reference: str) -> Path:
    """Return the path that a reference stands for on this machine."""
    from ocrvl_modal.places import Places
    from ocrvl_modal.settings import home

    return Places.under(home()).resolve(reference)
