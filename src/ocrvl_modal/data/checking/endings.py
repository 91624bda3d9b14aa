"""Whether an image's file is all there, told by its end: a doubt is settled by decoding."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_TAIL_BYTES = 32
_JPEG_END = b"\xff\xd9"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_GIF_END = b"\x3b"
# Strips and tiles of a TIFF: the keys of their offsets and of their sizes.
_TIFF_PARTS = ((273, 279), (324, 325))


def ends_whole(image: ImageFile, stream: BinaryIO) -> bool:
    """Say whether an open image's file ends as its format wants it to.

    ``False`` is no verdict: cameras write more behind a JPEG, and not every format says where it ends.
    """
    size = os.fstat(stream.fileno()).st_size
    if image.format == "TIFF":
        return _tiff_reaches(image) <= size
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read()
    if image.format in ("JPEG", "MPO"):
        return tail.rstrip(b"\0\r\n ").endswith(_JPEG_END)
    if image.format == "PNG":
        return tail.endswith(_PNG_END)
    if image.format == "GIF":
        return tail.rstrip(b"\0").endswith(_GIF_END)
    if image.format in ("WEBP", "BMP"):
        return _size_in_header(image.format, stream) in range(1, size + 1)
    return False


def _size_in_header(image_format: str, stream: BinaryIO) -> int:
    """Return the size that a file says it has: WebP counts from behind the number, BMP all of it."""
    stream.seek(0)
    head = stream.read(8)
    if image_format == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8
    return int.from_bytes(head[2:6], "little")


def _tiff_reaches(image: ImageFile) -> float:
    """Return where a TIFF's last strip or tile ends; infinity where it does not say."""
    tags = image.tag_v2
    ends = []
    for offsets, sizes in _TIFF_PARTS:
        starts, lengths = tags.get(offsets, ()), tags.get(sizes, ())
        if len(starts) != len(lengths):
            return float("inf")
        ends += [start + length for start, length in zip(starts, lengths, strict=True)]
    return max(ends, default=float("inf"))
