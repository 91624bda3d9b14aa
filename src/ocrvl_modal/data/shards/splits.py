"""Which files of this machine make a dataset: its training rows, and those that are held out beside them."""

from __future__ import annotations

import shlex
from pathlib import Path

from ocrvl_modal.data.rows import require_file
from ocrvl_modal.errors import usage_error

_TRAIN = "train.jsonl"
_HELD_OUT = ("validation", "test")


def splits_at(path: Path, **given: Path | None) -> dict[str, Path]:
    """Return a dataset's files by split: those ``given`` by the name of their split, and those that lie beside.

    Beside ``train.jsonl``, or in the folder that ``path`` is, ``validation.jsonl`` and ``test.jsonl`` belong to it; to
    a file of another name nothing does. Raises what :func:`~ocrvl_modal.data.rows.require_file` raises, and a usage
    error where two splits are one file.
    """
    train = path / _TRAIN if path.is_dir() and (path / _TRAIN).is_file() else path
    found = {"train": train}
    for split in _HELD_OUT:
        beside = train.with_name(f"{split}.jsonl")
        chosen = given.get(split) or (beside if train.name == _TRAIN and beside.is_file() else None)
        if chosen is not None:
            found[split] = chosen
    for file in found.values():
        require_file(file)
    for split, file in found.items():
        if split != "train" and file.samefile(train):
            raise usage_error(
                f"{file} is the {split} split, and is what is trained on too",
                f"ocrvl data split {shlex.quote(str(train))} holds samples out",
            )
    return found
