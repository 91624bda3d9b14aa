"""The datasets in the data store as a reader sees them: their names, versions and splits, and which one is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from ocrvl_modal.backends.base import Stores
from ocrvl_modal.data.shards.index import DATASETS, INDEX, SHARDS, DatasetIndex, Shard, parse_index
from ocrvl_modal.data.shards.references import DatasetReference, parse_reference
from ocrvl_modal.errors import OcrvlError, did_you_mean, not_found
from ocrvl_modal.places import is_place

_LIST = "ocrvl data ls"


def list_datasets(stores: Stores, name: str | None = None) -> tuple[list[DatasetIndex], list[OcrvlError]]:
    """Return all versions of all datasets, or of one, the newest first; and an error for each that cannot be read."""
    found: list[DatasetIndex] = []
    errors: list[OcrvlError] = []
    for entry in stores.walk(f"{DATASETS}/{name}" if name else DATASETS):
        if PurePosixPath(entry.place).name == INDEX:
            try:
                found.append(parse_index(stores.read_bytes(entry.place), entry.place))
            except OcrvlError as error:
                errors.append(error)
    return sorted(found, key=lambda index: index.pushed_at, reverse=True), errors


def read_index(stores: Stores, place: str) -> DatasetIndex | None:
    """Return the index at a place, or ``None`` where there is none."""
    return parse_index(stores.read_bytes(place), place) if stores.exists(place) else None


def load_index(stores: Stores, reference: DatasetReference) -> DatasetIndex:
    """Return the index of the version that is meant, the newest where none is named.

    Raises *not found*, with the nearest name, where there is no such dataset, version or split.
    """
    if reference.version:
        index = read_index(stores, reference.index_place)
        if index is None:
            raise _no_version(stores, reference)
    else:
        versions, _ = list_datasets(stores, reference.name)
        if not versions:
            raise _no_dataset(stores, reference.name)
        index = versions[0]
    if reference.split not in index.splits:
        raise not_found(
            f"{index.reference} has no split '{reference.split}'", did_you_mean(reference.split, index.splits)
        )
    return index


def find_stored(stores: Stores, text: str) -> DatasetReference | None:
    """Return the split of a stored dataset that a text means, with its version; ``None`` where it means a file.

    A file of this machine, or one at that very place, goes first; so does a path that could be a name, where the store
    has no dataset of that name.
    """
    reference = parse_reference(text)
    if reference is None or (stores.exists(text) if is_place(text) else Path(text).is_file()):
        return None
    if is_place(text) and not stores.exists(reference.index_place):
        return None
    if reference.version is None and not stores.exists(f"{DATASETS}/{reference.name}"):
        return None
    return DatasetReference(reference.name, load_index(stores, reference).version, reference.split)


def stored_shards(stores: Stores) -> dict[str, int]:
    """Return the size of each shard in the store, by its digest. Costs one listing."""
    return {PurePosixPath(entry.place).stem: entry.size_bytes or 0 for entry in stores.walk(SHARDS)}


def missing_shards(index: DatasetIndex, stored: Mapping[str, int]) -> list[Shard]:
    """Return the shards that the store lacks, or has cut off."""
    return [shard for shard in index.shards if stored.get(shard.sha256) != shard.size_bytes]


def _no_version(stores: Stores, reference: DatasetReference) -> OcrvlError:
    versions, _ = list_datasets(stores, reference.name)
    if not versions:
        return _no_dataset(stores, reference.name)
    return not_found(
        f"dataset '{reference.name}' has no version '{reference.version}'",
        did_you_mean(str(reference.version), [index.version for index in versions]),
    )


def _no_dataset(stores: Stores, name: str) -> OcrvlError:
    names = _names(stores)
    return not_found(f"there is no dataset '{name}' in the data store", did_you_mean(name, names) if names else _LIST)


def _names(stores: Stores) -> list[str]:
    if not stores.exists(DATASETS):
        return []
    entries: Iterable[str] = (entry.place for entry in stores.list(DATASETS) if entry.is_folder)
    return [PurePosixPath(place).name for place in entries]
