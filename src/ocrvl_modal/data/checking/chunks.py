"""A file in parts of whole lines, which several processes can read without knowing of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.data.rows import BYTE_ORDER_MARK

BLOCK_BYTES = 192 << 10
"""What is checked at once: it fits a processor's own memory."""

_BUFFER_BYTES = 256 << 10


@dataclass(frozen=True)
class Chunk:
    """The lines that begin from byte ``start`` up to, but not at, byte ``end`` of a file."""

    start: int
    end: int


def chunks_of(size_bytes: int, chunk_bytes: int) -> Iterator[Chunk]:
    """Yield the chunks of a file, which together have each of its lines once."""
    for start in range(0, size_bytes, chunk_bytes):
        yield Chunk(start, min(start + chunk_bytes, size_bytes))


def blocks_of(path: Path, chunk: Chunk) -> Iterator[list[bytes]]:
    """Yield the lines of a chunk, as many at once as are checked best, without the mark that may begin a file."""
    with path.open("rb", buffering=_BUFFER_BYTES) as stream:
        begin = chunk.start
        if begin:
            stream.seek(begin - 1)
            begin += len(stream.readline()) - 1
        while begin < chunk.end:
            # Lines are read until they have more bytes than so many, and 0 stands for no limit.
            left = chunk.end - begin - 1
            lines = stream.readlines(min(BLOCK_BYTES, left)) if left else [stream.readline()]
            if not lines:
                return
            starts_file = begin == 0
            begin += sum(map(len, lines))
            if starts_file:
                lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
            yield lines


def lines_of_chunk(path: Path, chunk: Chunk) -> Iterator[bytes]:
    """Yield the lines of a chunk one by one."""
    for block in blocks_of(path, chunk):
        yield from block
