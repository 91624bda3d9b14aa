"""A dataset as one HTML page, written card by card: it holds its images, and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.cores import usable_cores
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.examining import ExaminedRow, examine_rows
from ocrvl_modal.data.checking.lengths import CountMany
from ocrvl_modal.data.previewing.cards import NO_SAMPLE, Card, card_html
from ocrvl_modal.data.previewing.thumbnails import Thumbnail, bytes_for_each, thumbnail
from ocrvl_modal.data.rows import lines_of, require_file
from ocrvl_modal.data.shaping.rows_in_file import count_lines
from ocrvl_modal.data.shaping.tasks import task_name

OnProgress = Callable[[str, int, int], None]

_HERE = Path(__file__).parent
_SAMPLES = "<!-- samples -->"
_AHEAD = 16
_MOST_THREADS = 8
_LONGEST_LINE = 100_000


@dataclass(frozen=True)
class PreviewReport:
    """The page that was written: how many of the file's rows it shows, and what was found on them, by kind."""

    page: Path
    source: Path
    rows: int
    shown: int
    tasks: dict[str, int]
    findings: dict[str, int]
    without_image: int
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "page": str(self.page),
            "source": str(self.source),
            "rows": self.rows,
            "shown": self.shown,
            "tasks": self.tasks,
            "findings": self.findings,
            "without_image": self.without_image,
            "size_bytes": self.size_bytes,
        }


class _Counted:
    """Counts what passes on its way to the page."""

    def __init__(self) -> None:
        self.tasks: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.without_image = 0

    def add(self, card: Card, image: Thumbnail | None) -> None:
        self.tasks[card.task] += 1
        self.findings.update({finding.kind for finding in card.findings})
        self.without_image += image is None


def write_preview(
    path: Path,
    out: Path,
    demands: Demands,
    *,
    limit: int = 1000,
    count_many: CountMany | None = None,
    on_progress: OnProgress | None = None,
) -> PreviewReport:
    """Write the first ``limit`` rows of a file as a page, whole or not at all, with what a check finds on each.

    Images are made as small as the page's budget asks. Raises *not found* where there is no file.
    """
    require_file(path)
    rows = count_lines(path)
    total = min(limit, max(rows, 1))
    counted = _Counted()
    before, after = _frame(path, total, rows)
    with files.new_file(out) as beside, beside.open("w", encoding="utf-8") as stream:
        stream.write(before)
        cards = islice(_cards(path, demands, count_many), limit)
        for number, (card, image) in enumerate(_with_images(cards, bytes_for_each(total)), start=1):
            counted.add(card, image)
            stream.write(card_html(card, image))
            if on_progress:
                on_progress("drawing samples", number, max(total, number))
        stream.write(after)
    shown = sum(counted.tasks.values())
    return PreviewReport(
        page=out,
        source=path,
        rows=max(rows, shown),
        shown=shown,
        tasks=dict(counted.tasks.most_common()),
        findings=dict(counted.findings.most_common()),
        without_image=counted.without_image,
        size_bytes=out.stat().st_size,
    )


def _cards(path: Path, demands: Demands, count_many: CountMany | None) -> Iterator[tuple[Card, Path | None]]:
    """Yield each row as a card, with the file of its image."""
    folder = path.absolute().parent
    lines = lines_of(path)
    for examined in examine_rows(path, demands, count_many=count_many):
        raw = next((line for number, line in lines if number >= examined.line), b"")
        yield _card(examined, raw, folder)


def _card(examined: ExaminedRow, raw: bytes, folder: Path) -> tuple[Card, Path | None]:
    sample = examined.sample
    if sample is None:
        line = raw[:_LONGEST_LINE].decode("utf-8", "replace")
        return Card(examined.line, NO_SAMPLE, "", line, "", examined.findings), None
    image = sample.image
    name = (image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix()
    card = Card(
        line=examined.line,
        task=task_name(sample.prompt),
        prompt=sample.prompt,
        target=sample.target,
        image=name,
        findings=examined.findings,
        vision_tokens=examined.vision_tokens,
        text_tokens=examined.text_tokens,
    )
    return card, image


def _with_images(cards: Iterable[tuple[Card, Path | None]], most_bytes: int) -> Iterator[tuple[Card, Thumbnail | None]]:
    """Yield the cards in order, while the images of the next ones are made small on all cores."""
    small = partial(thumbnail, most_bytes=most_bytes)
    waiting: deque[tuple[Card, Future[Thumbnail | None] | None]] = deque()
    pool = ThreadPoolExecutor(min(_MOST_THREADS, usable_cores()))
    try:
        for card, image in cards:
            waiting.append((card, pool.submit(small, image) if image else None))
            if len(waiting) > _AHEAD:
                yield _awaited(*waiting.popleft())
        while waiting:
            yield _awaited(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _awaited(card: Card, image: Future[Thumbnail | None] | None) -> tuple[Card, Thumbnail | None]:
    return card, image.result() if image else None


def _frame(path: Path, shown: int, rows: int) -> tuple[str, str]:
    """Return the page before and after its samples."""
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    cut = f"the first {shown:,} of {rows:,} rows" if rows > shown else ""
    page = Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        name=html.escape(path.name),
        folder=html.escape(path.absolute().parent.name),
        cut=cut,
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        # Nothing in the page may run but this script, and nothing may be fetched, whatever a target says.
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    )
    before, _, after = page.partition(_SAMPLES)
    return before, after
