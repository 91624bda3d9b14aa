"""Telling whether a dataset is still the one that was checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.data.rows import scan
from ocrvl_modal.data.schema import Sample


def dataset_digest(path: Path) -> str:
    """Return a digest of a dataset: of its file's bytes and its images' sizes, wherever the two lie.

    It is cheap, so that each attempt at a run can tell whether the dataset is still the one that was checked. Raises
    what :func:`~ocrvl_modal.data.rows.scan` raises.
    """
    digest = hashlib.sha256(files.sha256_of(path).encode())
    for image in dict.fromkeys(item.image for item in scan(path) if isinstance(item, Sample)):
        digest.update(f"\n{_size_bytes(image)}".encode())
    return digest.hexdigest()


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
