"""Getting a stored dataset back as plain files, each shard verified before anything of it is unpacked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.backends.base import OnProgress, Stores
from ocrvl_modal.data.shards.index import DatasetIndex, Shard
from ocrvl_modal.data.shards.unpacking import damaged, is_whole, require_room, unpack
from ocrvl_modal.errors import ExitCode, OcrvlError, usage_error
from ocrvl_modal.jobs.progress import in_bytes

AT_ONCE = 4

_TRIES = 3


def pull(stores: Stores, index: DatasetIndex, out: Path, on_progress: OnProgress) -> int:
    """Write a dataset's rows and images into the new folder ``out``; return their bytes. It is whole, or not there.

    Raises a usage error where the folder holds something, and a data error for a shard that stays damaged.
    """
    if not files.is_vacant(out):
        raise usage_error(f"{out} is there, and not empty", "--out with another folder")
    require_room(index, out, AT_ONCE)
    written = done = 0
    with files.new_folder(out) as beside:
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for shard, size in zip(
                index.shards, pool.map(lambda shard: _pull_one(stores, index, shard, beside), index.shards), strict=True
            ):
                written += size
                done += shard.size_bytes
                on_progress(in_bytes(f"fetching {index.reference}"), done, index.size_bytes)
        finally:
            pool.shutdown(cancel_futures=True)
    return written


def _pull_one(stores: Stores, index: DatasetIndex, shard: Shard, folder: Path) -> int:
    copy = folder / f".{shard.sha256}.tar"
    for _ in range(_TRIES):
        try:
            stores.get(shard.place, copy, force=True)
        except OcrvlError as error:
            if error.code != ExitCode.NOT_FOUND:
                raise
            raise damaged(index, shard, "missing") from error
        if is_whole(copy, shard):
            size = unpack(copy, folder)
            copy.unlink()
            return size
    raise damaged(index, shard, "damaged")
