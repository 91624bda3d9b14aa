"""How many tokens each row takes: from its image's header and its text, in batches, with few rows in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

from ocrvl_modal.cores import usable_cores
from ocrvl_modal.data.checking.images import ImageLook, look_at_image
from ocrvl_modal.data.checking.lengths import CountMany, TextLengths
from ocrvl_modal.data.shaping.rows_in_file import RowInFile
from ocrvl_modal.models import FamilyMember

_BATCH = 512
_MOST_THREADS = 8
# Rows of one page follow each other.
_REMEMBERED_IMAGES = 4096


@dataclass(frozen=True)
class MeasuredRow:
    """One row, what its image's header says, and the tokens of its text with the marks around it."""

    row: RowInFile
    look: ImageLook
    text_tokens: int

    @property
    def tokens(self) -> int:
        """The length that ``max_seq_len`` limits."""
        return self.look.vision_tokens + self.text_tokens

    @property
    def trouble(self) -> str:
        """Why the image cannot be used; nothing where it can."""
        return "" if self.look.vision_tokens else self.look.findings[0][1]


def measured(rows: Iterable[RowInFile], member: FamilyMember, count_many: CountMany | None) -> Iterator[MeasuredRow]:
    """Yield each row with its sizes, for one member of the family; ``count_many`` is its tokenizer, where it is here.

    An image is not decoded as long as its file leaves no doubt that it is whole.
    """
    lengths = TextLengths(count_many, member.assistant_tail)
    look = lru_cache(_REMEMBERED_IMAGES)(partial(_look, member))
    stream = iter(rows)
    with ThreadPoolExecutor(min(_MOST_THREADS, usable_cores())) as pool:
        while batch := list(islice(stream, _BATCH)):
            looks = pool.map(look, [row.sample.image for row in batch])
            texts = lengths.of([row.sample.prompt for row in batch], [row.sample.target for row in batch])
            for row, seen, tokens in zip(batch, looks, texts, strict=True):
                yield MeasuredRow(row, seen, tokens)


def _look(member: FamilyMember, image: Path) -> ImageLook:
    return look_at_image(image, member.pixels, decode=False)
