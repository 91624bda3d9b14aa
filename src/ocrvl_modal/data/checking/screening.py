"""A quick look at many rows at once, by calls that run in C: which of them are clean beyond doubt.

What the screen lets through has no finding of :class:`~ocrvl_modal.data.checking.examining.Examiner` but for where its
image lies; whatever it doubts is examined. A test proves that the two together find what examining alone finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress, filterfalse, repeat
from operator import contains, itemgetter
from typing import Any, cast

import msgspec

from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.latex import are_balanced_displays, surely_balances
from ocrvl_modal.data.checking.lengths import TextLengths
from ocrvl_modal.data.checking.targets import ODD_STARTS, OTSL, PLAIN, has_markdown_table, labelling, target_findings
from ocrvl_modal.data.checking.texts import (
    CONTROL,
    LOOP_CHARACTERS,
    LOOP_PERIOD,
    PROBE_END,
    PROBE_START,
    find_loop,
    is_nfc,
)
from ocrvl_modal.data.plain_rows import NOT_DECODED, ErniekitRow, MessagesRow
from ocrvl_modal.data.schema import IMAGE_MARK, LONGEST_PATH, RESERVED, is_url
from ocrvl_modal.models import task_of

SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""All that ``str.isspace`` takes for white space."""

_ODD_STARTS = ODD_STARTS | frozenset(SPACES) | {""}
_CONTROL_BYTES = re.compile(rb"\xc2[\x80-\x9f]")
_probe_of = itemgetter(slice(PROBE_START, PROBE_END))
_before_probe = itemgetter(slice(PROBE_START - LOOP_PERIOD, PROBE_END - 1))
# Whatever is neither a cell with text, which does not begin with white space, nor one without any, nor the end of a row
# that has cells; between tables is a line end.
_BEYOND_PLAIN_TABLES = re.compile(r"<(?!fcel>[^<\s]|ecel><|nl>\n?(?:<(?!nl>)|\Z))")
_CHECKED_TASKS = ("table", "formula", "chart", "spotting")


@dataclass(frozen=True)
class CleanRows:
    """Rows without a finding, as columns; ``numbers`` are their lines in the block, counted from 0.

    ``labels`` gives the labelling of answers that are not :data:`~ocrvl_modal.data.checking.targets.PLAIN`, by their
    place in the columns.
    """

    numbers: Sequence[int]
    prompts: list[str]
    targets: list[str]
    references: list[str]
    labels: dict[int, str]

    def without(self, places: set[int]) -> CleanRows:
        """Return the rows but for those at some places of the columns."""
        if not places:
            return self
        kept = bytearray(b"\1") * len(self.prompts)
        for place in places:
            kept[place] = 0
        labels = self.labels.get
        return CleanRows(
            list(compress(self.numbers, kept)),
            list(compress(self.prompts, kept)),
            list(compress(self.targets, kept)),
            list(compress(self.references, kept)),
            {new: label for new, old in enumerate(compress(range(len(kept)), kept)) if (label := labels(old))},
        )


NO_ROWS = CleanRows((), [], [], [], {})


@dataclass(frozen=True)
class _Columns:
    """Rows as they were decoded; ``prompts`` has ``None`` for a prompt that is not known."""

    numbers: Sequence[int]
    prompts: list[str | None]
    targets: list[str]
    references: list[str]

    def joined_with(self, other: _Columns) -> _Columns:
        """Return these rows and then the other ones."""
        return _Columns(
            [*self.numbers, *other.numbers],
            self.prompts + other.prompts,
            self.targets + other.targets,
            self.references + other.references,
        )


class _Form:
    """One form of rows: how a row is decoded, and what of it is prompt, target and image."""

    def __init__(self, row: type[MessagesRow] | type[ErniekitRow], prompts: Mapping[str, str]) -> None:
        self.decoder = msgspec.json.Decoder(row)
        self._in_messages = row is MessagesRow
        mark = IMAGE_MARK if self._in_messages else ""
        self._prompt_of = {mark + prompt: prompt for prompt in prompts}.get

    def columns(self, rows: list[Any], numbers: Sequence[int]) -> _Columns:
        """Return decoded rows as columns."""
        if self._in_messages:
            turns = [row.messages for row in rows]
            contents = [turn[0].content for turn in turns]
            targets = [turn[1].content for turn in turns]
            references = [row.images[0] for row in rows]
        else:
            turns = [row.text_info for row in rows]
            contents = [turn[0].text for turn in turns]
            targets = [turn[1].text for turn in turns]
            references = [row.image_info[0].image_url for row in rows]
        return _Columns(numbers, list(map(self._prompt_of, contents)), targets, references)


class Screen:
    """Screens blocks of lines for what one set of demands asks."""

    def __init__(self, demands: Demands, lengths: TextLengths) -> None:
        self._max_seq_len = demands.max_seq_len
        self._lengths = lengths
        self._certainly_short = demands.max_seq_len - max(
            lengths.of(demands.prompts, [""] * len(demands.prompts)), default=0
        )
        self._tasks = {prompt: task_of(prompt) for prompt in demands.prompts if is_unremarkable(prompt)}
        self._checked = {prompt: task for prompt, task in self._tasks.items() if task in _CHECKED_TASKS}
        self._forms = [_Form(row, dict.fromkeys(self._tasks, "")) for row in (MessagesRow, ErniekitRow)]

    def screen(self, lines: Sequence[bytes]) -> tuple[CleanRows, list[int]]:
        """Return the clean rows among lines, and the numbers of the others, counted from 0."""
        columns, others = self._decode(lines)
        labels: dict[int, str] = {}
        doubted = {place for find in self._doubts(columns, lines, labels) for place in find}
        # Rows whose prompt is not known are among the doubted.
        prompts = cast("list[str]", columns.prompts)
        rows = CleanRows(columns.numbers, prompts, columns.targets, columns.references, labels)
        return rows.without(doubted), sorted([*others, *(columns.numbers[place] for place in doubted)])

    def _decode(self, lines: Sequence[bytes]) -> tuple[_Columns, list[int]]:
        for form in self._forms:
            with suppress(*NOT_DECODED):
                return form.columns(list(map(form.decoder.decode, lines)), range(len(lines))), []
        return self._decode_each(lines)

    def _decode_each(self, lines: Iterable[bytes]) -> tuple[_Columns, list[int]]:
        others: list[int] = []
        decoded: list[tuple[list[Any], list[int]]] = [([], []) for _ in self._forms]
        for number, line in enumerate(lines):
            for form, (rows, numbers) in zip(self._forms, decoded, strict=True):
                with suppress(*NOT_DECODED):
                    rows.append(form.decoder.decode(line))
                    numbers.append(number)
                    break
            else:
                others.append(number)
        first, second = (form.columns(*found) for form, found in zip(self._forms, decoded, strict=True))
        return first.joined_with(second), others

    def _doubts(self, rows: _Columns, lines: Sequence[bytes], labels: dict[int, str]) -> Iterator[Iterable[int]]:
        """Yield the places of rows that must be examined, a reason at a time; fill in the ``labels``."""
        if None in rows.prompts:
            yield [place for place, prompt in enumerate(rows.prompts) if prompt is None]
        yield _doubtful_references(rows.references)
        yield _doubtful_characters(rows, lines)
        yield [place for place, text in enumerate(rows.targets) if "|" in text and has_markdown_table(text)]
        yield self._doubtful_answers(rows, labels)
        yield self._too_long(rows)

    def _doubtful_answers(self, rows: _Columns, labels: dict[int, str]) -> set[int]:
        """Return answers that may be wrong for their task, and tell the labelling of those that are right."""
        tasks = list(map(self._checked.get, cast("list[str]", rows.prompts)))
        doubtful = set(_looping(rows.targets))
        for task, places in _grouped(tasks).items():
            answers = [rows.targets[place] for place in places]
            if label := _label_of_all_right(task, answers):
                labels.update(dict.fromkeys(places, label))
            else:
                doubtful.update(place for place in places if not self._is_right(rows, place, labels))
        odd = (place for place in _odd(rows.targets) if tasks[place] is None)
        doubtful.update(place for place in odd if not self._is_right(rows, place, labels))
        return doubtful

    def _is_right(self, rows: _Columns, place: int, labels: dict[int, str]) -> bool:
        """Say whether nothing is wrong with an answer, and tell its labelling then."""
        label = _label_of_right(self._tasks.get(rows.prompts[place] or ""), rows.targets[place])
        if label and label != PLAIN:
            labels[place] = label
        return label is not None

    def _too_long(self, rows: _Columns) -> list[int]:
        """Return rows whose text alone is too long, or may be: where nobody counts, a character is at most a token."""
        if not self._lengths.are_counted and max(map(len, rows.targets), default=0) <= self._certainly_short:
            return []
        lengths = self._lengths.of([prompt or "" for prompt in rows.prompts], rows.targets)
        return [place for place, length in enumerate(lengths) if length > self._max_seq_len]


def is_unremarkable(text: str) -> bool:
    """Say whether there is nothing to find in a prompt itself."""
    return is_nfc(text) and not CONTROL.search(text) and not any(word in text for word in RESERVED)


def _doubtful_references(references: list[str]) -> list[int]:
    """Return images that are not named by a path, wherever that leads."""
    joined = "".join(references)
    longest = max(map(len, references), default=0)
    if all(references) and ":" not in joined and "\0" not in joined and longest <= LONGEST_PATH:
        return []
    return [
        place
        for place, name in enumerate(references)
        if not name or "\0" in name or len(name) > LONGEST_PATH or name.startswith("data:") or is_url(name)
    ]


def _doubtful_characters(rows: _Columns, lines: Sequence[bytes]) -> Iterator[int]:
    """Yield texts with control characters, or in another form than NFC."""
    targets = rows.targets
    if not all(map(is_nfc, filterfalse(str.isascii, targets))):
        yield from (place for place, text in enumerate(targets) if not is_nfc(text))
    # JSON writes control characters as escapes, but for those from U+007F to U+009F.
    escaped = map(contains, map(lines.__getitem__, rows.numbers), repeat(b"\\"))
    if CONTROL.search("".join(compress(targets, escaped))) or _has_control_bytes(b"".join(lines)):
        yield from (place for place, text in enumerate(targets) if CONTROL.search(text))


def _has_control_bytes(content: bytes) -> bool:
    """Say whether there are control characters that stand in JSON as they are."""
    return b"\x7f" in content or (b"\xc2" in content and _CONTROL_BYTES.search(content) is not None)


def _grouped(tasks: list[str | None]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, task in enumerate(tasks):
        if task:
            places.setdefault(task, []).append(place)
    return places


def _looping(targets: list[str]) -> list[int]:
    """Return answers that may end in a loop."""
    said_before = map(contains, map(_before_probe, targets), map(_probe_of, targets))
    return [
        place
        for place in compress(range(len(targets)), said_before)
        if len(targets[place]) >= LOOP_CHARACTERS and find_loop(targets[place])
    ]


def _odd(targets: list[str]) -> list[int]:
    """Return answers that begin oddly, or have a sign that marks begin with."""
    return [place for place, text in enumerate(targets) if text[:1] in _ODD_STARTS or "<" in text]


def _label_of_all_right(task: str, answers: list[str]) -> str:
    """Return the labelling of answers with none of which anything is wrong; nothing where one may be, or differ."""
    if task == "table":
        return OTSL if _are_plain_tables(answers) else ""
    if task == "formula" and are_balanced_displays(answers) and not _has_reserved("".join(answers)):
        return labelling(task, answers[0])
    return ""


def _has_reserved(text: str) -> bool:
    return "<" in text and any(map(text.__contains__, RESERVED))


def _are_plain_tables(answers: list[str]) -> bool:
    """Say whether answers are, beyond doubt, tables without merged cells; much faster than the whole grammar."""
    return (
        all(map(str.startswith, answers, repeat(("<fcel>", "<ecel>"))))
        and all(map(str.endswith, answers, repeat("<nl>")))
        and not _BEYOND_PLAIN_TABLES.search("\n".join(answers))
        and all(map(_is_rectangle, answers))
    )


def _label_of_right(task: str | None, target: str) -> str | None:
    """Return the labelling of an answer that nothing is wrong with, ``None`` where something may be."""
    if task == "table" and _are_plain_tables([target]):
        return OTSL
    if not target.strip() or _has_reserved(target):
        return None
    if (
        (task == "formula" and surely_balances(target))
        or (task == "chart" and len(set(map(str.count, target.split("\n"), repeat("|")))) == 1)
        or not any(target_findings(task, target))
    ):
        return labelling(task, target)
    return None


def _is_rectangle(otsl: str) -> bool:
    """Say whether each row has as many signs that begin a token; behind the last row is nothing."""
    return len(set(map(str.count, otsl.split("<nl>")[:-1], repeat("<")))) == 1
