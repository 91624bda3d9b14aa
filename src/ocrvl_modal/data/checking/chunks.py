"""A file in parts of whole lines, which several processes can read without knowing of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.data.rows import BYTE_ORDER_MARK

BLOCK_BYTES = 192 << 10
"""What is decoded at once: it fits a processor's own memory."""


@dataclass(frozen=True)
class Chunk:
    """The lines that begin from byte ``start`` up to, but not at, byte ``end`` of a file."""

    start: int
    end: int


def chunks_of(size_bytes: int, chunk_bytes: int) -> Iterator[Chunk]:
    """Yield the chunks of a file, which together have each of its lines once."""
    for start in range(0, size_bytes, chunk_bytes):
        yield Chunk(start, min(start + chunk_bytes, size_bytes))


def blocks_of(path: Path, chunk: Chunk) -> Iterator[bytes]:
    """Yield the lines of a chunk, as many at once as decode best, without the mark that may begin a file."""
    with path.open("rb") as stream:
        begin = chunk.start
        if begin:
            stream.seek(begin - 1)
            begin += len(stream.readline()) - 1
        while begin < chunk.end:
            block = stream.read(min(BLOCK_BYTES, chunk.end - begin))
            if not block.endswith(b"\n"):
                block += stream.readline()
            if not block:
                return
            yield block if begin else block.removeprefix(BYTE_ORDER_MARK)
            begin += len(block)


def read_chunk(path: Path, chunk: Chunk) -> bytes:
    """Return all lines of a chunk."""
    return b"".join(blocks_of(path, chunk))


def count_lines(lines: bytes) -> int:
    """Return how many lines there are, the last of which may lack its end."""
    return lines.count(b"\n") + bool(lines and not lines.endswith(b"\n"))
