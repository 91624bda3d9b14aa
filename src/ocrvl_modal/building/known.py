"""What this machine knows without asking: where a wheel would come from, and what a build would do."""

from __future__ import annotations

from ocrvl_modal.building.outlook import Outlook, look_ahead
from ocrvl_modal.building.recipe import INDEX, ImageRecipe, WheelSource
from ocrvl_modal.building.record import Records
from ocrvl_modal.pins import FrameworkWheel
from ocrvl_modal.wheels.folder import WHEELS_FOLDER, find_local


def offline_outlook(recipe: ImageRecipe, records: Records, builder: str) -> Outlook:
    """Return what a build would do, as far as this machine knows."""
    if recipe.framework:
        recipe = recipe.with_wheel(expected_source(recipe.framework, records))
    return look_ahead(recipe, builder, records.read(recipe.name))


def expected_source(wanted: FrameworkWheel, records: Records) -> WheelSource:
    """Return where a build would take the wheel from: the store, ``wheels/``, or the index."""
    stored = records.stored_wheel(wanted)
    if stored:
        return WheelSource("store", stored["path"], stored["sha256"], stored["size_bytes"])
    local = find_local(WHEELS_FOLDER, wanted)
    if local:
        return WheelSource("folder", f"/wheels/{local.sha256}/{wanted.file_name}", local.sha256, local.size_bytes)
    return INDEX
