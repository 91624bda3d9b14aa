"""Which datasets a recipe means: a version for a name, and the held-out splits that belong to the training data."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.backends.dataset_store import find_stored, load_index
from ocrvl_modal.data.shards.references import DatasetReference, parse_reference
from ocrvl_modal.errors import usage_error
from ocrvl_modal.places import is_place
from ocrvl_modal.recipes import TrainRecipe

_HELD_OUT_BESIDE = {"validation": "validation.jsonl", "test": "test.jsonl"}
_SPLITS = ("train", "validation", "test")


def with_data_found(recipe: TrainRecipe, backend: Backend) -> tuple[TrainRecipe, tuple[str, ...]]:
    """Return the recipe with a version for each stored dataset, and with held-out splits; and notes on what was found.

    Those are the splits of the same version, or ``validation.jsonl`` and ``test.jsonl`` beside ``train.jsonl``.
    """
    if not recipe.data.train:
        raise usage_error("there is nothing to train on: no --data and no data.train", "--data ./digits/train.jsonl")
    named = {split: getattr(recipe.data, split) for split in _SPLITS}
    pinned = {split: pin(backend, text) if text else None for split, text in named.items()}
    notes = [f"{split}: {text} is {pinned[split]}" for split, text in named.items() if text and pinned[split] != text]
    found = held_out(str(pinned["train"]), backend)
    found = {split: beside for split, beside in found.items() if pinned[split] is None}
    notes += [f"{split}: {beside}, found beside the training data" for split, beside in found.items()]
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={**pinned, **found})}), tuple(notes)


def pin(backend: Backend, text: str) -> str:
    """Return a reference to a stored dataset with its version; any other as it is."""
    stored = find_stored(backend.stores, text)
    return text if stored is None or is_place(text) else str(stored)


def subject_of(reference: str) -> str:
    """Return what a dataset is called, for the name of a run: its folder's name, where its own says nothing."""
    named = parse_reference(reference)
    if named is not None and (named.version or not is_place(reference)):
        return named.name
    path = PurePosixPath(reference)
    return path.parent.name if path.stem in {"train", "data"} and path.parent.name else path.stem


def held_out(train: str, backend: Backend) -> dict[str, str]:
    """Return the held-out splits that belong to training data: of the same version, or beside ``train.jsonl``."""
    stored = find_stored(backend.stores, train)
    if stored is not None:
        splits = load_index(backend.stores, stored).splits if stored.split == "train" else {}
        return {
            split: str(DatasetReference(stored.name, stored.version, split))
            for split in _HELD_OUT_BESIDE
            if split in splits
        }
    if PurePosixPath(train).name != "train.jsonl":
        return {}
    beside = {split: str(PurePosixPath(train).parent / file) for split, file in _HELD_OUT_BESIDE.items()}
    return {split: path for split, path in beside.items() if _is_there(backend, path)}


def _is_there(backend: Backend, reference: str) -> bool:
    return backend.stores.exists(reference) if is_place(reference) else Path(reference).is_file()
