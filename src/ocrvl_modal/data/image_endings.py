"""What kind of image a file is, told by its first bytes."""

from __future__ import annotations

HEAD_BYTES = 16
"""So many bytes are enough to tell."""

_MAGIC = (
    (b"\x89PNG", 0, ".png"),
    (b"\xff\xd8\xff", 0, ".jpg"),
    (b"GIF8", 0, ".gif"),
    (b"BM", 0, ".bmp"),
    (b"II*\0", 0, ".tif"),
    (b"MM\0*", 0, ".tif"),
    (b"II+\0", 0, ".tif"),
    (b"MM\0+", 0, ".tif"),
    (b"WEBP", 8, ".webp"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", 0, ".jp2"),
    (b"\xff\x4f\xff\x51", 0, ".j2k"),
)


def ending_of(content: bytes) -> str:
    """Return the ending by which programs know an image, from its first bytes; nothing where they are of no image.

    Nothing is decoded: a file that begins as an image may be a damaged one.
    """
    found = (ending for magic, offset, ending in _MAGIC if content[offset : offset + len(magic)] == magic)
    return next(found, "")
