"""Reading a shard: nothing of it is looked at before its digest is right, and only what may be in it is unpacked."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import BinaryIO

from ocrvl_modal import files
from ocrvl_modal.data.shards.index import DatasetIndex, Shard
from ocrvl_modal.data.shards.members import IMAGES, is_member_name
from ocrvl_modal.errors import OcrvlError, data_error

_CHUNK_BYTES = 1 << 20
_PLAIN_FILE = (tarfile.REGTYPE, tarfile.AREGTYPE)


def copy_verified(source: BinaryIO, target: Path, shard: Shard) -> bool:
    """Copy a shard; say whether what arrived is what the index names."""
    digest = hashlib.sha256()
    size = 0
    with target.open("wb") as copy:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += copy.write(chunk)
            if size > shard.size_bytes:
                return False
    return size == shard.size_bytes and digest.hexdigest() == shard.sha256


def is_whole(path: Path, shard: Shard) -> bool:
    """Say whether a file is what the index names."""
    return path.stat().st_size == shard.size_bytes and files.sha256_of(path) == shard.sha256


def damaged(index: DatasetIndex, shard: Shard, what: str) -> OcrvlError:
    """Return the error of a shard that is ``what``, such as missing."""
    return data_error(
        f"a shard of {index.reference} is {what} in the data store: {shard.place}",
        f"`ocrvl data push FILE --name {index.name} --version {index.version} --verify`, with the files that it was"
        " made of, mends it",
    )


def require_room(index: DatasetIndex, folder: Path, at_once: int) -> None:
    """Raise where a disk has too little room to unpack a dataset, ``at_once`` shards at a time."""
    largest = max((shard.size_bytes for shard in index.shards), default=0)
    needed, free = index.size_bytes + at_once * largest, files.free_bytes(folder)
    if free < needed:
        raise OcrvlError(
            f"the disk has too little room for {index.reference}: {needed / 1e6:,.1f} MB are needed at {folder},"
            f" {free / 1e6:,.1f} MB are free",
            "free some space, such as with `ocrvl volume gc`, and try again",
        )


def unpack(tar: Path, folder: Path) -> int:
    """Unpack a shard's files into ``folder`` and return their bytes; memory does not grow with their sizes.

    Raises a data error, before anything is written, for a member that is no plain file or has a name that no shard may
    hold: an index that somebody made up must not write elsewhere, nor leave a link.
    """
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(tar, "r:") as archive:
            members = archive.getmembers()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise data_error(f"the shard {tar.name} is no tar file: {error}", "push the dataset again") from error
    for member in members:
        if member.type not in _PLAIN_FILE or member.issparse() or not is_member_name(member.name):
            raise data_error(
                f"the shard {tar.name} holds {member.name!r}, which does not belong into a dataset",
                "do not use this dataset unless you know who made it",
            )
    with tar.open("rb") as stream:
        for member in members:
            stream.seek(member.offset_data)
            _write(stream, member.size, folder / member.name)
    return sum(member.size for member in members)


def _write(stream: BinaryIO, size: int, target: Path) -> None:
    with target.open("wb") as file:
        while size:
            chunk = stream.read(min(size, _CHUNK_BYTES))
            if not chunk:
                raise data_error(f"a shard ends in the middle of {target.name}", "push the dataset again")
            size -= file.write(chunk)
