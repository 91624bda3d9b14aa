"""The job that reads shards where they lie, and says which are not what their names tell."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.data.shards.index import place_of_shard
from ocrvl_modal.files import sha256_of
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.places import Places

_AT_ONCE = 4


class VerifyRequest(BaseModel):
    """Which shards to read, by the digests that they should have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    shards: tuple[str, ...]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Return the digests of the shards that are missing, cut off or altered."""
    asked = VerifyRequest.model_validate(request)
    damaged: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda sha256: _is_damaged(asked.places, sha256), asked.shards)
        for done, (sha256, is_damaged) in enumerate(zip(asked.shards, found, strict=True), start=1):
            damaged += [sha256] if is_damaged else []
            report_progress("reading shards in the store", done, len(asked.shards))
    return {"damaged": damaged}


def _is_damaged(places: Places, sha256: str) -> bool:
    path = places.resolve(place_of_shard(sha256))
    return not path.is_file() or sha256_of(path) != sha256
