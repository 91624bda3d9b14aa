"""Whether the stores really work: a small file goes in, comes back, and goes away."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.errors import OcrvlError, of_the_system
from ocrvl_modal.places import STORE_NAMES


@dataclass(frozen=True)
class Probe:
    """How one store did. ``where`` is its folder or its volume, ``seconds`` the time of the whole round trip."""

    store: str
    where: str
    seconds: float
    problem: str = ""
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the probe as it stands in JSON output."""
        return {**asdict(self), "ok": not self.problem}


def probe_stores(backend: Backend) -> list[Probe]:
    """Probe each store; one that fails does not keep the others from being tried."""
    return [_probe(backend, store) for store in STORE_NAMES]


def _probe(backend: Backend, store: str) -> Probe:
    began = time.monotonic()
    problem = hint = ""
    try:
        _round_trip(backend, store)
    except OcrvlError as error:
        problem, hint = error.message, error.hint
    except OSError as error:
        told = of_the_system(error)
        problem, hint = told.message, told.hint
    return Probe(store, backend.where(store), round(time.monotonic() - began, 3), problem, hint)


def _round_trip(backend: Backend, store: str) -> None:
    place = f"/{store}/.ocrvl-probe-{secrets.token_hex(4)}"
    content = secrets.token_bytes(1024)
    backend.stores.write_bytes(place, content)
    try:
        if backend.stores.read_bytes(place) != content:
            raise OcrvlError(f"what was written to {place} came back changed", "try again; if it stays, report it")
    finally:
        backend.stores.remove(place)
