"""Finding what is of no more use in the stores, and removing it; and how much lies where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ocrvl_modal.backends.base import Backend, OnProgress
from ocrvl_modal.errors import OcrvlError, not_found
from ocrvl_modal.places import STORE_NAMES
from ocrvl_modal.upkeep.garbage import FINDERS, Finder, Look, Wanted


@dataclass(frozen=True)
class Usage:
    """How much lies at a place."""

    place: str
    files: int
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the usage as it stands in JSON output."""
        return {"place": self.place, "files": self.files, "size_bytes": self.size_bytes}


@dataclass(frozen=True)
class Garbage:
    """A place that is of no more use, and why."""

    kind: str
    place: str
    reason: str
    files: int
    size_bytes: int
    modified_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as it stands in JSON output."""
        return {**vars(self), "modified_at": self.modified_at.isoformat()}


def usage_below(backend: Backend, place: str) -> list[Usage]:
    """Return how much lies in each thing one step below a place, or below each store for ``/``; the most first."""
    look = Look(backend, Wanted(older_than=timedelta(), keep=1))
    places = [f"/{store}" for store in STORE_NAMES] if place == "/" else [place.rstrip("/")]
    if place != "/" and not backend.stores.exists(place):
        raise not_found(f"there is no {place} on the {backend.name} backend", "ocrvl volume du")
    found = [_usage(look, below) for each in places for below in look.below(each)]
    # Locks are files without a byte.
    return sorted((usage for usage in found if usage.size_bytes), key=lambda usage: (-usage.size_bytes, usage.place))


def find_garbage(backend: Backend, wanted: Wanted, on_progress: OnProgress) -> tuple[list[Garbage], list[str]]:
    """Return what may be removed, and a warning for each kind that could not be looked for."""
    look = Look(backend, wanted)
    found: dict[str, Garbage] = {}
    warnings: list[str] = []
    for number, finder in enumerate(FINDERS, start=1):
        try:
            for garbage in _found_by(finder, look):
                found.setdefault(garbage.place, garbage)
        except OcrvlError as error:
            warnings.append(f"nothing of the kind '{finder.kind}' was looked for: {error.message}")
        on_progress("looking through the stores", number, len(FINDERS))
    return _outermost(found.values()), warnings


def remove_garbage(
    backend: Backend, garbage: Iterable[Garbage], wanted: Wanted, on_progress: OnProgress
) -> tuple[list[Garbage], list[Garbage]]:
    """Remove each place that is still of no use, judged anew; return those that went, and those that stay."""
    finders = {finder.kind: finder for finder in FINDERS}
    doomed = list(garbage)
    gone: list[Garbage] = []
    stays: list[Garbage] = []
    for number, one in enumerate(doomed, start=1):
        if finders[one.kind].judge(Look(backend, wanted, narrow=True), one.place) is None or not backend.stores.exists(
            one.place
        ):
            stays.append(one)
        else:
            backend.stores.remove(one.place)
            gone.append(one)
        on_progress("removing", number, len(doomed))
    return gone, stays


def _found_by(finder: Finder, look: Look) -> Iterable[Garbage]:
    for place in finder.candidates(look):
        reason = finder.judge(look, place)
        if reason is not None:
            usage = _usage(look, place)
            newest = max(entry.modified_at for entry in look.files(place))
            yield Garbage(finder.kind, place, reason, usage.files, usage.size_bytes, newest)


def _usage(look: Look, place: str) -> Usage:
    entries = look.files(place)
    return Usage(place, len(entries), sum(entry.size_bytes or 0 for entry in entries))


def _outermost(found: Iterable[Garbage]) -> list[Garbage]:
    """Leave out what lies in another thing that goes."""
    kept: list[Garbage] = []
    for garbage in sorted(found, key=lambda one: one.place):
        if not (kept and garbage.place.startswith(f"{kept[-1].place}/")):
            kept.append(garbage)
    return kept
