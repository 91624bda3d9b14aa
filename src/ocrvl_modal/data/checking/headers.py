"""The size of an everyday PNG or JPEG from its first and last bytes, several times as fast as Pillow opens it.

Formats: ISO/IEC 15948 (PNG) and ITU-T T.81 (JPEG). Whatever is not plain, sound and known here is left to Pillow.
"""

from __future__ import annotations

import struct
import zlib

HEAD_BYTES = 4096
TAIL_BYTES = 32

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# Bits a channel, with the colour type: grey, RGB, palette, grey with alpha, RGBA.
_PNG_PLAIN = frozenset({(1, 0), (2, 0), (4, 0), (8, 0), (8, 2), (1, 3), (2, 3), (4, 3), (8, 3), (8, 4), (8, 6)})
_PNG_HARMLESS = frozenset({b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"PLTE", b"tRNS", b"bKGD", b"tIME", b"hIST", b"sBIT"})
_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
# Tables, the restart interval, JFIF, Adobe's note and comments.
_JPEG_HARMLESS = frozenset({0xDB, 0xC4, 0xDD, 0xE0, 0xEE, 0xFE})
_START_OF_SCAN = 0xDA
_QUANTIZATION = 0xDB
_ENTRIES = 64


def plain_size(head: bytes, tail: bytes) -> tuple[int, int] | None:
    """Return the width and height that a file has by its first and last bytes; ``None`` where Pillow must say.

    A file that gets a size is upright, of 8 bits a channel, not CMYK and no animation, and it is not cut off.
    """
    if head.startswith(_JPEG_START):
        return _jpeg_size(head) if tail.endswith(_JPEG_END) else None
    if head.startswith(_PNG_START):
        return _png_size(head) if tail.endswith(_PNG_END) else None
    return None


def _png_size(head: bytes) -> tuple[int, int] | None:
    """Walk the chunks before the pixels, of which each has its own check sum."""
    if len(head) < 33:
        return None
    width, height, depth, colour, compression, filtering = struct.unpack_from(">IIBBBB", head, 16)
    if (depth, colour) not in _PNG_PLAIN or compression or filtering:
        return None
    at = 8
    while at + 12 <= len(head):
        (length,) = struct.unpack_from(">I", head, at)
        name, end = head[at + 4 : at + 8], at + 8 + length
        if name == b"IDAT":
            return width, height
        if (at > 8 and name not in _PNG_HARMLESS) or end + 4 > len(head):
            return None
        if zlib.crc32(head[at + 4 : end]) != struct.unpack_from(">I", head, end)[0]:
            return None
        at = end + 4
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Walk the segments up to the first scan."""
    size = None
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        content = head[at + 4 : at + 2 + length]
        if len(content) != length - 2:
            return None
        if marker == _START_OF_SCAN:
            return size
        if marker in _JPEG_FRAMES and size is None:
            size = _frame_size(content)
        elif marker not in _JPEG_HARMLESS or (marker == _QUANTIZATION and not _are_tables(content)):
            return None
        at += 2 + length
    return None


def _frame_size(content: bytes) -> tuple[int, int] | None:
    """Return the size of a frame of 8 bits, grey or in three colours."""
    if len(content) < 6:
        return None
    bits, height, width, channels = struct.unpack_from(">BHHB", content)
    return (width, height) if bits == 8 and channels in (1, 3) and len(content) == 6 + 3 * channels else None


def _are_tables(content: bytes) -> bool:
    """Say whether a segment is made of whole quantization tables."""
    while content:
        length = 1 + _ENTRIES * (2 if content[0] >> 4 else 1)
        if len(content) < length:
            return False
        content = content[length:]
    return True
