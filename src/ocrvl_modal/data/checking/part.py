"""One chunk of a file checked: screened as a whole, examined where the screen has doubts, images looked at."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import ClassVar, Literal

from ocrvl_modal.data.checking.chunks import Chunk, blocks_of, lines_of_chunk
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.examining import Examiner, question_and_answer
from ocrvl_modal.data.checking.images import ImageLook, look_at_image
from ocrvl_modal.data.checking.lengths import CountMany
from ocrvl_modal.data.checking.screening import NO_ROWS, CleanRows, Screen
from ocrvl_modal.data.checking.tally import Asked, Tally, key_of
from ocrvl_modal.data.forms import parse_row
from ocrvl_modal.data.schema import RowRefused

Images = Literal["none", "sample", "all"]

SAMPLED_IMAGES = 1000
"""How many images are looked at where not all are, spread evenly over the file."""

_REMEMBERED_LOOKS = 4096


@dataclass(frozen=True)
class Task:
    """What is to be checked of which file, and how closely."""

    did: ClassVar[str] = "checked the dataset"
    again: ClassVar[str] = "check again"

    path: Path
    size_bytes: int
    demands: Demands
    images: Images
    decode: bool
    count_many: CountMany | None
    examples: int

    def worker(self) -> PartChecker:
        """Return who checks the chunks."""
        return PartChecker(self)


class PartChecker:
    """Checks chunks of one file."""

    def __init__(self, task: Task) -> None:
        self._task = task
        # Rows that name the same image are mostly neighbours.
        folder = task.path.absolute().parent
        self._folder = str(folder)
        self._look = lru_cache(_REMEMBERED_LOOKS)(self._look_at)
        self._examiner = Examiner(task.demands, folder, self._look, task.count_many)
        self._keys: frozenset[int] = frozenset()
        self._screen = Screen(task.demands, self._examiner.lengths)

    def check(self, chunk: Chunk) -> Tally:
        """Return what was found in a chunk."""
        tally = self._new_tally()
        looked_at = self._lines_to_look_at(chunk)
        for block in blocks_of(self._task.path, chunk):
            part = self._check_block(block, _Shifted(looked_at, tally.lines))
            tally.extend_rows(part)
            tally.extend(part)
        return tally

    def search_for(self, keys: frozenset[int]) -> None:
        """Take the hashes of image and prompt whose rows :meth:`asked` returns from now on."""
        self._keys = keys

    def asked(self, chunk: Chunk) -> tuple[Asked, int]:
        """Return the rows of a chunk that are searched for, and how many lines the chunk has."""
        asked, number = Asked(), 0
        for number, line in enumerate(lines_of_chunk(self._task.path, chunk), start=1):
            with suppress(RowRefused):
                row = parse_row(line.strip())
                pair = question_and_answer(row)
                if pair and len(row.images) == 1:
                    key = key_of(row.images[0].reference, pair[0].text)
                    if key in self._keys:
                        asked.add(number, key, pair[1].text)
        return asked, number

    def _check_block(self, lines: Sequence[bytes], looked_at: Container[int]) -> Tally:
        """Return what was found in a block of lines; those whose image is decoded are examined in any case."""
        tally = self._new_tally()
        tally.lines = len(lines)
        all_numbers = list(range(tally.lines)) if self._task.images == "all" and self._task.decode else []
        clean, others = (NO_ROWS, all_numbers) if all_numbers else self._screen.screen(lines)
        if self._task.images == "sample":
            wanted = {place for place, number in enumerate(clean.numbers) if number in looked_at}
            others = sorted([*others, *(clean.numbers[place] for place in wanted)])
            clean = clean.without(wanted)
        vision_tokens = None
        if self._task.images == "all" and clean.prompts:
            clean, vision_tokens, doubted = self._glance(clean)
            others = sorted([*others, *doubted])
        tally.add_clean(clean, self._examiner.lengths, vision_tokens)
        last_row = max(clean.numbers, default=-1)
        blanks = []
        for number in others:
            line = lines[number].strip()
            if line:
                tally.add_examined(self._examiner.examine(line, number + 1, with_image=number in looked_at))
                last_row = max(last_row, number)
            else:
                blanks.append(number)
        tally.add_blanks([number + 1 for number in blanks if number < last_row])
        tally.blank_at_end = tally.lines - 1 - last_row
        return tally

    def _glance(self, clean: CleanRows) -> tuple[CleanRows, list[int], list[int]]:
        """Look at clean rows' images; return the rows that stay so, their images' tokens, and the others' lines."""
        lengths, most = self._examiner.lengths, self._task.demands.max_seq_len
        texts = lengths.of(clean.prompts, clean.targets)
        # Strings: a path object for each takes as long as the look.
        looks = list(map(self._look, map(os.path.join, repeat(self._folder), clean.references)))
        doubted = {
            place
            for place, (look, text) in enumerate(zip(looks, texts, strict=True))
            if look.findings or look.vision_tokens + text > most
        }
        tokens = [look.vision_tokens for place, look in enumerate(looks) if place not in doubted]
        return clean.without(doubted), tokens, [clean.numbers[place] for place in doubted]

    def _new_tally(self) -> Tally:
        return Tally(self._task.examples, by_bytes=self._task.images == "all")

    def _lines_to_look_at(self, chunk: Chunk) -> Container[int]:
        """Return the lines of a chunk whose images are looked at, counted from 0."""
        if self._task.images == "none":
            return ()
        if self._task.images == "all":
            return range(sys.maxsize)
        count = sum(1 for _ in lines_of_chunk(self._task.path, chunk))
        share = _samples_before(chunk.end, self._task) - _samples_before(chunk.start, self._task)
        return {index * count // share for index in range(share)} if share < count else range(count)

    def _look_at(self, path: Path | str) -> ImageLook:
        return look_at_image(path, self._task.demands.pixels, decode=self._task.decode)


@dataclass(frozen=True)
class _Shifted:
    """Line numbers of a chunk as those of a block in it."""

    lines: Container[int]
    before: int

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and number + self.before in self.lines


def _samples_before(byte: int, task: Task) -> int:
    return byte * SAMPLED_IMAGES // task.size_bytes
