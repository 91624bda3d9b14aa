"""Rows that ask the same of the same image again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from ocrvl_modal.data.checking.chunks import Chunk
from ocrvl_modal.data.checking.spill import Hashes
from ocrvl_modal.data.checking.tally import Asked
from ocrvl_modal.data.crew import Crew
from ocrvl_modal.data.schema import Finding

_KEYS_IN_A_PASS = 100_000
"""More are searched for by reading the file again, so that memory does not grow with the number of repeats."""


@dataclass(frozen=True)
class Repeat:
    """A row that repeats the image and the prompt of an earlier one; ``same`` tells whether it answers the same."""

    line: int
    first_line: int
    same: bool

    def finding(self) -> Finding:
        """Return what to say of it."""
        asks = f"the row asks of the same image what line {self.first_line} asks"
        if self.same:
            return Finding("duplicate", f"{asks}, and answers the same", self.line)
        return Finding("contradiction", f"{asks}, and answers otherwise", self.line)


def repeats_by_name(hashes: Hashes, crew: Crew, chunks: Iterable[Chunk]) -> Iterator[list[Repeat]]:
    """Yield the repeats among rows whose hashes were collected, found by reading the file again where there are any."""
    repeated, all_chunks = hashes.repeated(), list(chunks)
    while keys := frozenset(islice(repeated, _KEYS_IN_A_PASS)):
        for _ in crew.run("search_for", [(keys,)] * crew.size):
            pass
        asked, lines = Asked(), 0
        for found, count in crew.run("asked", ((chunk,) for chunk in all_chunks)):
            asked.extend(found, lines)
            lines += count
        yield list(repeats_in(asked))


def repeats_in(asked: Asked) -> Iterator[Repeat]:
    """Yield the repeats among rows that are all known."""
    first: dict[int, tuple[int, int]] = {}
    for line, key, answer in zip(asked.lines, asked.keys, asked.answers, strict=True):
        first_line, first_answer = first.setdefault(key, (line, answer))
        if first_line != line:
            yield Repeat(line, first_line, answer == first_answer)
