"""Framework wheels in the wheels store of a backend: which are there, and how one of this machine gets there."""

from __future__ import annotations

from ocrvl_modal.backends.base import Stores
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.pins import FrameworkWheel
from ocrvl_modal.wheels.folder import LocalWheel
from ocrvl_modal.wheels.stored import (
    STORE,
    StoredWheel,
    note_of,
    place_of_note,
    place_of_wheel,
    require_no_other,
    wheels_among,
)


def list_stored(stores: Stores) -> list[StoredWheel]:
    """Return the wheels of the store, by name. Costs one listing."""
    return wheels_among((entry.place, entry.size_bytes or 0) for entry in stores.walk(STORE))


def find_stored(stores: Stores, wanted: FrameworkWheel) -> StoredWheel | None:
    """Return the wanted build where the store has it."""
    return next((wheel for wheel in list_stored(stores) if wheel.is_build_of(wanted)), None)


def find_same(stores: Stores, local: LocalWheel) -> StoredWheel | None:
    """Return the very wheel of this machine where the store has it, whole; raise where it has another in its place."""
    place = place_of_wheel(local.sha256, local.file_name)
    stored = list_stored(stores)
    require_no_other(stored, local.file_name, local.cuda, local.sha256)
    there = next((wheel for wheel in stored if wheel.place == place), None)
    return there if there and (there.size_bytes, there.cuda) == (local.size_bytes, local.cuda) else None


def push(stores: Stores, local: LocalWheel) -> StoredWheel:
    """Copy a wheel into the store and return it as it lies there; one that is there already does not travel."""
    if local.problem or local.entry is None:
        raise OcrvlError(f"{local.path} cannot be relied on: {local.problem}", f"ocrvl wheel verify {local.path}")
    there = find_same(stores, local)
    if there:
        return there
    place = place_of_wheel(local.sha256, local.file_name)
    stores.put(local.path, place, force=True)
    stores.write_bytes(place_of_note(local.sha256, local.cuda), note_of(local.file_name, local.entry))
    return StoredWheel(place, local.file_name, local.sha256, local.size_bytes, local.cuda)
