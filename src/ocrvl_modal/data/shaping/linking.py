"""Which groups share an image, by its bytes or by how it looks: a split must not part them."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.cores import usable_cores
from ocrvl_modal.data.checking.images import look_at_image
from ocrvl_modal.data.checking.likeness import near_duplicates
from ocrvl_modal.data.shaping.assignment import Links, group_number
from ocrvl_modal.data.shaping.rows_in_file import RowInFile
from ocrvl_modal.errors import data_error, did_you_mean, usage_error
from ocrvl_modal.models import DEFAULT_MODEL, FAMILY, PixelLimits

TOGETHER = ("alike", "same", "named")
"""What keeps rows together beside their group: images that look alike, the same bytes, or nothing but the name."""

_AHEAD = 64
_MOST_THREADS = 8


@dataclass(frozen=True)
class Seen:
    """What one image looks like: the first bits of its bytes' digest, and its likeness where it has one."""

    digest: int
    likeness: int | None = None


def known_together(word: str) -> str:
    """Return ``word`` where it says what keeps rows together; raise a usage error otherwise."""
    if word not in TOGETHER:
        raise usage_error(f"--together {word}: it is alike, same or named", did_you_mean(word, TOGETHER))
    return word


class SharedImages:
    """Looks at each image once, and remembers its group: a few numbers an image, whatever its size."""

    def __init__(self, together: str, check_command: str) -> None:
        self._look = partial(_look, FAMILY[DEFAULT_MODEL].pixels, together == "alike", check_command)
        self._looks_at_images = together != "named"
        self._known: set[int] = set()
        self._digests = array("Q")
        self._groups = array("Q")
        self._likenesses: list[int] = []
        self._alike_groups = array("Q")
        self.links = Links()

    def watch(self, rows: Iterable[tuple[RowInFile, int]]) -> Iterator[tuple[RowInFile, int]]:
        """Pass rows and their groups on, in order, each when its image was looked at.

        Raises a data error for an image that cannot be read.
        """
        if not self._looks_at_images:
            yield from rows
            return
        pool = ThreadPoolExecutor(min(_MOST_THREADS, usable_cores()))
        waiting: deque[tuple[RowInFile, int, Callable[[], Seen] | None]] = deque()
        try:
            for row, group in rows:
                path = group_number(f"{row.name}\n{group}")
                seen = None if path in self._known else pool.submit(self._look, row.sample.image).result
                self._known.add(path)
                waiting.append((row, group, seen))
                if len(waiting) >= _AHEAD:
                    yield self._noted(*waiting.popleft())
            while waiting:
                yield self._noted(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def join(self) -> None:
        """Link the groups that share an image, once all rows have passed."""
        first: dict[int, int] = {}
        for digest, group in zip(self._digests, self._groups, strict=True):
            self.links.join(first.setdefault(digest, group), group)
        for alike in near_duplicates(self._likenesses):
            for index in alike[1:]:
                self.links.join(self._alike_groups[alike[0]], self._alike_groups[index])

    def _noted(self, row: RowInFile, group: int, look: Callable[[], Seen] | None) -> tuple[RowInFile, int]:
        if look is not None:
            seen = look()
            self._digests.append(seen.digest)
            self._groups.append(group)
            if seen.likeness is not None:
                self._likenesses.append(seen.likeness)
                self._alike_groups.append(group)
        return row, group


def _look(pixels: PixelLimits, by_likeness: bool, check_command: str, image: Path) -> Seen:
    if not by_likeness:
        try:
            return Seen(int(files.sha256_of(image)[:16], 16))
        except OSError as error:
            raise data_error(f"image {image} cannot be read: {error.strerror}", check_command) from error
    look = look_at_image(image, pixels, decode=True)
    if look.sha256 is None:
        why = look.findings[0][1] if look.findings else f"image {image} cannot be read"
        raise data_error(why, check_command)
    return Seen(int(look.sha256[:16], 16), look.likeness)
