"""Making a framework wheel present in the wheels store, fetched by the machine that has the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.jobs.fetching.meter import Meter
from ocrvl_modal.jobs.progress import in_bytes
from ocrvl_modal.pins import FrameworkWheel
from ocrvl_modal.places import Places
from ocrvl_modal.wheels.fetching import FetchedWheel, WheelOrder, fetch_wheel
from ocrvl_modal.wheels.stored import (
    STORE,
    StoredWheel,
    note_of,
    place_of_note,
    place_of_wheel,
    require_no_other,
    wheels_among,
)

_ARRIVING = ".arriving"
"""Where wheels lie in the store until they are whole: what is cut off here is gone on with by the next call."""


class FetchWheelRequest(BaseModel):
    """Which build to fetch, and from which index; ``again`` is the command that goes on after a break."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    version: str
    cuda: str
    python: str
    platform: str
    index_url: str
    again: str
    sha256: str | None = None
    connections: int = 8

    @property
    def wanted(self) -> FrameworkWheel:
        """The build."""
        return FrameworkWheel(self.version, self.cuda, self.python, self.platform)


class FetchWheelResult(BaseModel):
    """Where the wheel is in the store; ``fetched`` is false when it was there already."""

    model_config = ConfigDict(frozen=True)

    place: str
    file_name: str
    sha256: str
    size_bytes: int
    cuda: str
    received_bytes: int
    fetched: bool


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Make the wheel present in the store, whole or not at all; what is there already is not fetched again."""
    asked = FetchWheelRequest.model_validate(request)
    there = _there_already(asked)
    if there is not None:
        return _result(there, None).model_dump(mode="json")
    order = WheelOrder(
        asked.wanted,
        asked.places.wheels / _ARRIVING / asked.cuda,
        asked.index_url,
        asked.again,
        asked.sha256,
        asked.connections,
    )
    with Meter(in_bytes("fetching"), 0) as meter:
        fetched = fetch_wheel(order, meter.tell_all)
    return _result(_put_in_place(asked.places, fetched), fetched).model_dump(mode="json")


def _there_already(asked: FetchWheelRequest) -> StoredWheel | None:
    stored = wheels_among(_files_of(asked.places.wheels))
    there = next((wheel for wheel in stored if wheel.is_build_of(asked.wanted)), None)
    if there is not None and asked.sha256 is not None:
        require_no_other([there], there.file_name, there.cuda, asked.sha256)
    return there


def _files_of(store: Path) -> list[tuple[str, int]]:
    found = (path for path in store.glob("*/*") if path.is_file())
    return [(f"{STORE}/{path.relative_to(store).as_posix()}", path.stat().st_size) for path in found]


def _put_in_place(places: Places, fetched: FetchedWheel) -> StoredWheel:
    """Give a wheel its place by its digest; its note comes last."""
    entry, name = fetched.entry, fetched.path.name
    place = place_of_wheel(entry.sha256, name)
    path = places.resolve(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    fetched.path.replace(path)
    files.write_bytes(places.resolve(place_of_note(entry.sha256, entry.cuda)), note_of(name, entry))
    return StoredWheel(place, name, entry.sha256, entry.size_bytes, entry.cuda)


def _result(wheel: StoredWheel, fetched: FetchedWheel | None) -> FetchWheelResult:
    return FetchWheelResult(
        place=wheel.place,
        file_name=wheel.file_name,
        sha256=wheel.sha256,
        size_bytes=wheel.size_bytes,
        cuda=wheel.cuda,
        received_bytes=fetched.received_bytes if fetched else 0,
        fetched=fetched is not None,
    )
