"""What a dataset on this machine comes to as a stored one: its rows as they are packed, and its images by content.

A survey is kept, with the stamps of all files that it speaks of: where none has changed, the next one reads nothing but
the stamps.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ocrvl_modal import files
from ocrvl_modal.data.rows import require_file
from ocrvl_modal.data.shards.digests import KnownFile, Stamp, digest_files
from ocrvl_modal.data.shards.members import Member, image_name
from ocrvl_modal.data.shards.reading import image_paths
from ocrvl_modal.data.shards.renaming import renamed_rows
from ocrvl_modal.errors import OcrvlError, data_error

OnProgress = Callable[[str, int, int], None]

_SCHEMA = 1


@dataclass(frozen=True)
class SurveyedRows:
    """A file of rows: how many, what they are as they are packed, and the images that they name, each once, in order.

    ``path`` is absolute.
    """

    path: str
    stamp: Stamp
    settled: bool
    rows: int
    sha256: str
    size_bytes: int
    images: tuple[KnownFile, ...]
    schema: int = _SCHEMA

    def image_members(self) -> Iterator[Member]:
        """Return the images as members of shards; one content may come under several paths."""
        return map(Member, self.images)

    def write_rows(self, target: Path, name: str) -> Member:
        """Write the rows as they are packed to ``target``; return them as the member ``name`` of a shard."""
        digest = hashlib.sha256()
        with target.open("wb") as stream:
            for line in _packed_lines(Path(self.path), self.images):
                digest.update(line)
                stream.write(line)
        if digest.hexdigest() != self.sha256:
            raise _changed(Path(self.path))
        return Member(KnownFile(str(target), self.sha256, "", Stamp.of(str(target)), settled=True), name)

    @property
    def is_unchanged(self) -> bool:
        """Whether rows and images are certainly as they were."""
        try:
            same = self.settled and Stamp.of(self.path) == self.stamp
        except OSError:
            return False
        return same and all(image.is_unchanged() for image in self.images)


def survey(path: Path, kept: Path, on_progress: OnProgress) -> SurveyedRows:
    """Return what a dataset file comes to; ``kept`` is the folder of earlier surveys.

    Raises *not found* where there is no such file, and a data error where a row cannot be read or an image is not
    there.
    """
    require_file(path)
    file = kept / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]}.survey"
    earlier = _read_earlier(file)
    if earlier is not None and earlier.is_unchanged:
        return earlier
    found = _survey_anew(
        path.absolute(), {image.path: image for image in earlier.images} if earlier else {}, on_progress
    )
    # It only saves time: a home that cannot be written to must not end a push.
    with contextlib.suppress(OSError):
        files.write_bytes(file, msgspec.msgpack.encode(found))
    return found


def _survey_anew(path: Path, known: Mapping[str, KnownFile], on_progress: OnProgress) -> SurveyedRows:
    moment, stamp = time.time_ns(), Stamp.of(str(path))
    images = digest_files(image_paths(path), known, lambda done, total: on_progress("looking at images", done, total))
    digest = hashlib.sha256()
    rows = size = 0
    for line in _packed_lines(path, images):
        digest.update(line)
        rows += 1
        size += len(line)
    if Stamp.of(str(path)) != stamp:
        raise _changed(path)
    return SurveyedRows(str(path), stamp, stamp.is_settled(moment), rows, digest.hexdigest(), size, tuple(images))


def _packed_lines(path: Path, images: Iterable[KnownFile]) -> Iterator[bytes]:
    """Yield each row as it is packed: its images by their names in the shards, all else as it was."""
    by_path = {image.path: image for image in images}
    return renamed_rows(path, lambda image: image_name(by_path[image]))


def _read_earlier(file: Path) -> SurveyedRows | None:
    try:
        found = msgspec.msgpack.decode(file.read_bytes(), type=SurveyedRows)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None
    return found if found.schema == _SCHEMA else None


def _changed(path: Path) -> OcrvlError:
    return data_error(f"{path} changed while it was read", "push again when nothing writes to it any more")
