"""Bringing a dataset into the data store: only the shards that it lacks travel, and the index comes last."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from ocrvl_modal import files, locks
from ocrvl_modal._version import __version__
from ocrvl_modal.backends.base import Backend, OnProgress, Stores
from ocrvl_modal.backends.dataset_store import list_datasets, missing_shards, read_index, stored_shards
from ocrvl_modal.data.crew import Crew
from ocrvl_modal.data.shards.index import CLAIMS, DATASETS, INDEX, USED, DatasetIndex, Shard, content_digest
from ocrvl_modal.data.shards.planning import PackingPlan, PlannedShard, packing_crew, plan_shards
from ocrvl_modal.data.shards.survey import survey
from ocrvl_modal.errors import OcrvlError, usage_error
from ocrvl_modal.jobs.progress import in_bytes
from ocrvl_modal.runs.record import now

AT_ONCE = 4
"""Shards that are packed and uploaded at once; so many lie on the disk of this machine at most."""

_VERSION_LETTERS = 12

FindDamaged = Callable[[Sequence[Shard]], Collection[str]]
"""Reads shards in the store, and returns the digests of those that are not what they should be."""


@dataclass(frozen=True)
class Desk:
    """Where this machine works on a push: ``scratch`` for shards that are about to go, ``kept`` for what is known."""

    scratch: Path
    kept: Path

    @classmethod
    def under(cls, home: Path) -> Desk:
        """Return the folders below ``home``."""
        return cls(home / "scratch", home / "cache" / "datasets")


@dataclass(frozen=True)
class Asked:
    """How a dataset is to be stored; without a ``version`` it gets one by its content."""

    name: str
    version: str | None = None
    automatic: bool = False


@dataclass(frozen=True)
class Pushed:
    """What a push came to: the index as it lies in the store, and the shards that travelled for it."""

    index: DatasetIndex
    new: tuple[Shard, ...]

    @property
    def new_bytes(self) -> int:
        """The bytes of the shards that travelled."""
        return sum(shard.size_bytes for shard in self.new)


def push(
    stores: Stores,
    datasets: Mapping[str, Path],
    asked: Asked,
    desk: Desk,
    on_progress: OnProgress,
    find_damaged: FindDamaged | None = None,
) -> Pushed:
    """Store the files of a dataset, by split, as one version; a version that is there already costs one listing.

    Whatever ends it, the next push goes on: shards that arrived do not travel again. With ``find_damaged``, shards
    that lie in the store are not trusted for their size alone. Raises a usage error where the version is there with
    another content.
    """
    _remove_leftovers(desk.scratch)
    surveyed = {split: survey(path, desk.kept, on_progress) for split, path in datasets.items()}
    digest = content_digest({split: rows.sha256 for split, rows in surveyed.items()})
    version = asked.version or digest[:_VERSION_LETTERS]
    there = _same_version(stores, asked.name, version, digest)
    stored = _Stored(stores, find_damaged)
    if there is not None and not missing_shards(there, stored.among(there.shards)):
        return _used_again(stores, there, asked)
    plan = plan_shards(surveyed)
    known = _known_shards(stores, asked.name, plan, desk.kept)
    with _claimed(stores, f"{asked.name}@{version}"), _folder_of_its_own(desk.scratch) as folder:
        loading = _Loading(stores, folder, desk.kept, stored.among([*known.values()]), known)
        shards = loading.bring(plan, on_progress)
        index = DatasetIndex(
            name=asked.name,
            version=version,
            splits=plan.splits,
            shards=shards,
            images=plan.images,
            made_by=f"ocrvl {__version__}",
            pushed_at=there.pushed_at if there else now().isoformat(),
            automatic=asked.automatic and (there is None or there.automatic),
        )
        _require_all(stores, index)
        # Somebody else may have pushed another content under this name meanwhile.
        _same_version(stores, asked.name, version, digest)
        stores.write_bytes(f"{index.place}/{INDEX}", index.to_json())
    return Pushed(index, tuple(loading.new))


def _same_version(stores: Stores, name: str, version: str, digest: str) -> DatasetIndex | None:
    """Return the index of a version where it is there; raise where its content is another."""
    there = read_index(stores, f"{DATASETS}/{name}/{version}/{INDEX}")
    if there is not None and there.digest != digest:
        raise usage_error(
            f"{there.reference} is in the store with another content, of {there.pushed_at[:16].replace('T', ' ')}",
            "--version with another name, or none: then the content names the version",
        )
    return there


class _Stored:
    """The shards in the store, asked for once, without those that are known to be damaged."""

    def __init__(self, stores: Stores, find_damaged: FindDamaged | None) -> None:
        self._sizes = stored_shards(stores)
        self._find_damaged = find_damaged
        self._read: set[str] = set()

    def among(self, shards: Sequence[Shard]) -> Mapping[str, int]:
        """Return the size of each shard in the store by its digest; ``shards`` are read where that is asked for."""
        unread = [
            one for one in shards if self._sizes.get(one.sha256) == one.size_bytes and one.sha256 not in self._read
        ]
        if self._find_damaged and unread:
            self._read |= {shard.sha256 for shard in unread}
            for damaged in self._find_damaged(unread):
                del self._sizes[damaged]
        return self._sizes


def _require_all(stores: Stores, index: DatasetIndex) -> None:
    if missing := missing_shards(index, stored_shards(stores)):
        raise OcrvlError(
            f"{len(missing)} shards are not in the store any more: something else removed them", "push again"
        )


def verify_by_job(backend: Backend, on_progress: OnProgress) -> FindDamaged:
    """Return what has shards read where they lie, by a job of the backend."""

    def find_damaged(shards: Sequence[Shard]) -> Collection[str]:
        request = {"shards": [shard.sha256 for shard in shards]}
        found: list[str] = backend.call("verify_dataset", request, on_progress=on_progress)["damaged"]
        return found

    return find_damaged


def _used_again(stores: Stores, there: DatasetIndex, asked: Asked) -> Pushed:
    """Note that a dataset is in use, where it goes with the runs that use it, or that somebody wants it for itself."""
    if there.automatic and asked.automatic:
        stores.write_bytes(f"{there.place}/{USED}", b"")
    elif there.automatic:
        there = replace(there, automatic=False)
        stores.write_bytes(f"{there.place}/{INDEX}", there.to_json())
    return Pushed(there, ())


@contextmanager
def _claimed(stores: Stores, name: str) -> Iterator[None]:
    """Tell who collects garbage that shards arrive which no index names yet."""
    claim = f"{CLAIMS}/{name}.json"
    stores.write_bytes(claim, json.dumps({"host": os.uname().nodename}).encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError, OcrvlError):
            stores.remove(claim)


def _remove_leftovers(scratch: Path) -> None:
    """Remove the folders of pushes that were killed."""
    for lock in scratch.glob("push-*.lock"):
        if not locks.is_held(lock):
            files.remove_folder(lock.with_suffix(""))
            lock.unlink(missing_ok=True)
    for removing in scratch.glob(".push-*.removing"):
        shutil.rmtree(removing, ignore_errors=True)


@contextmanager
def _folder_of_its_own(scratch: Path) -> Iterator[Path]:
    """Yield an empty folder that goes with the block; the lock beside it tells whether its push is alive."""
    folder = scratch / f"push-{uuid4().hex}"
    lock = folder.with_suffix(".lock")
    held = locks.acquire(lock)
    folder.mkdir()
    try:
        yield folder
    finally:
        files.remove_folder(folder)
        lock.unlink(missing_ok=True)
        if held is not None:
            os.close(held)


def _known_shards(stores: Stores, name: str, plan: PackingPlan, kept: Path) -> dict[str, Shard]:
    """Return the shards of a plan that were packed before, by their keys: for other versions, or on this machine."""
    versions, _ = list_datasets(stores, name)
    known = {shard.key: shard for index in versions for shard in index.shards}
    for planned in plan.shards:
        if planned.key not in known and (shard := _read_note(kept, planned)):
            known[planned.key] = shard
    return known


class _Loading:
    """Packs shards and brings those into the store that it lacks, several at once."""

    def __init__(
        self, stores: Stores, folder: Path, kept: Path, stored: Mapping[str, int], known: Mapping[str, Shard]
    ) -> None:
        self.new: list[Shard] = []
        self._stores = stores
        self._folder = folder
        self._kept = kept
        self._stored = stored
        self._known = known
        self._lock = threading.Lock()

    def bring(self, plan: PackingPlan, on_progress: OnProgress) -> tuple[Shard, ...]:
        """Return all shards of a plan, in its order, when each of them lies in the store."""
        total = sum(planned.content_bytes for planned in plan.shards)
        done = 0
        what = in_bytes("packing and uploading")

        def bring_one(planned: PlannedShard) -> Shard:
            nonlocal done
            shard = self._bring_one(planned, crew)
            with self._lock:
                done += planned.content_bytes
                on_progress(what, done, total)
            return shard

        on_progress(what, 0, total)
        # Rows first, since this process packs them while others pack images.
        in_turn = sorted(plan.shards, key=lambda planned: planned.holds != "rows")
        with packing_crew([planned for planned in in_turn if not self._is_there(planned)]) as crew:
            pool = ThreadPoolExecutor(AT_ONCE)
            try:
                brought = {shard.key: shard for shard in pool.map(bring_one, in_turn)}
            finally:
                pool.shutdown(cancel_futures=True)
        return tuple(brought[planned.key] for planned in plan.shards)

    def _is_there(self, planned: PlannedShard) -> bool:
        known = self._known.get(planned.key)
        return known is not None and self._is_stored(known)

    def _bring_one(self, planned: PlannedShard, crew: Crew) -> Shard:
        if self._is_there(planned):
            return self._known[planned.key]
        file = self._folder / f"{planned.key}.tar"
        packed = planned.pack(file, crew)
        shard = Shard(packed.sha256, packed.size_bytes, len(planned.members), planned.holds, planned.key)
        _write_note(self._kept, shard)
        if self._is_stored(shard):
            file.unlink()
            return shard
        self._stores.take(file, shard.place)
        with self._lock:
            self.new.append(shard)
        return shard

    def _is_stored(self, shard: Shard) -> bool:
        return self._stored.get(shard.sha256) == shard.size_bytes


def _note(kept: Path, key: str) -> Path:
    return kept / "shards" / f"{key}.json"


def _write_note(kept: Path, shard: Shard) -> None:
    # It only saves time.
    with contextlib.suppress(OSError):
        files.write_json(_note(kept, shard.key), [shard.sha256, shard.size_bytes])


def _read_note(kept: Path, planned: PlannedShard) -> Shard | None:
    try:
        sha256, size_bytes = json.loads(_note(kept, planned.key).read_bytes())
    except (OSError, ValueError):
        return None
    return Shard(str(sha256), int(size_bytes), len(planned.members), planned.holds, planned.key)
