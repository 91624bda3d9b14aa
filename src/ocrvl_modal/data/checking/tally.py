"""What was found in a part of a file, and such tallies added up: small, whatever the size of the part."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import add

from ocrvl_modal.data.checking.examining import ExaminedRow, place_finding
from ocrvl_modal.data.checking.lengths import TextLengths
from ocrvl_modal.data.checking.report import Extent, FindingGroup
from ocrvl_modal.data.checking.screening import CleanRows
from ocrvl_modal.data.checking.targets import PLAIN
from ocrvl_modal.data.rows import blank_line
from ocrvl_modal.data.schema import Finding, ImageUse


@dataclass
class Asked:
    """What was asked, and how it was answered: a line, a hash of image and prompt, and one of the target, for each row.

    Rows of the same hash repeat each other, and hardly ever by chance: it has 64 bits.
    """

    lines: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))
    answers: array[int] = field(default_factory=lambda: array("q"))

    def add(self, line: int, key: int, target: str) -> None:
        """Note a row."""
        self.lines.append(line)
        self.keys.append(key)
        self.answers.append(hash(target))

    def extend(self, other: Asked, line_offset: int) -> None:
        """Add the rows of a later part, whose lines count from ``line_offset``."""
        self.lines.extend(line + line_offset for line in other.lines)
        self.keys.extend(other.keys)
        self.answers.extend(other.answers)


@dataclass(frozen=True)
class SeenImage:
    """An image that was decoded: the row's line, the SHA-256 of the file's bytes, its likeness, and where it lies."""

    line: int
    sha256: str
    likeness: int | None
    path: str


@dataclass(frozen=True)
class Labelled:
    """How many answers follow one convention, and the line of the first."""

    count: int
    line: int


@dataclass
class Tally:
    """What was found in a part of a file; ``examples`` findings of each kind are kept, and the others counted.

    Lines count from 1 at the part's begin. ``images`` are those that were decoded. ``keys`` are hashes of image and
    prompt; with ``by_bytes`` those of decoded images are in ``asked`` instead, where the image is what its bytes are,
    whatever it is called. These three grow with the part, so that whoever adds many parts keeps them elsewhere.
    """

    examples: int
    by_bytes: bool = False
    lines: int = 0
    blank_at_end: int = 0
    rows: int = 0
    samples: int = 0
    prompts: Counter[str] = field(default_factory=Counter)
    labels: dict[tuple[str, str], Labelled] = field(default_factory=dict)
    vision_tokens: Extent = field(default_factory=Extent)
    characters: Extent = field(default_factory=Extent)
    sequence_tokens_max: int = 0
    found: dict[str, FindingGroup] = field(default_factory=dict)
    keys: array[int] = field(default_factory=lambda: array("q"))
    asked: Asked = field(default_factory=Asked)
    images: list[SeenImage] = field(default_factory=list)

    def add_finding(self, finding: Finding, count: int = 1) -> None:
        """Count a finding, and keep it where it is one of the first of its kind."""
        group = self.found.get(finding.kind) or FindingGroup(finding.kind, 0, ())
        kept = group.examples if len(group.examples) >= self.examples else (*group.examples, finding)
        self.found[finding.kind] = FindingGroup(finding.kind, group.count + count, kept)

    def add_blanks(self, lines: Collection[int]) -> None:
        """Add blank lines that rows follow."""
        kept = [blank_line(line) for line in islice(lines, self.examples)]
        if kept:
            self._add_group(FindingGroup("blank_line", len(lines), tuple(kept)), 0)

    def add_examined(self, examined: ExaminedRow) -> None:
        """Add a row that was examined."""
        self.rows += 1
        for finding in examined.findings:
            self.add_finding(finding)
        pair = examined.question_and_answer
        if pair is None or examined.row is None:
            return
        prompt, target = (turn.text for turn in pair)
        look = examined.image
        if examined.sample and look and look.sha256:
            self.images.append(SeenImage(examined.line, look.sha256, look.likeness, str(examined.sample.image)))
        if len(examined.row.images) == 1:
            self._add_key(examined, prompt, target)
        if not examined.has_error:
            self.samples += 1
            self.prompts[prompt] += 1
            self._add_label(prompt, examined.label, 1, examined.line)
            self.vision_tokens += Extent(examined.vision_tokens, examined.vision_tokens)
            self.characters += Extent(len(target), len(target))
            tokens = examined.text_tokens + examined.vision_tokens
            self.sequence_tokens_max = max(self.sequence_tokens_max, tokens)

    def add_clean(self, rows: CleanRows, lengths: TextLengths, vision_tokens: Sequence[int] | None = None) -> None:
        """Add the clean rows of a block, all at once, with the tokens of their images where these were looked at."""
        if not rows.prompts:
            return
        self.rows += len(rows.prompts)
        self.samples += len(rows.prompts)
        prompts = Counter(rows.prompts)
        self.prompts += prompts
        self._add_labels(rows, prompts)
        characters = list(map(len, rows.targets))
        self.characters += Extent(sum(characters), max(characters))
        if vision_tokens is None:
            longest = _longest(rows, prompts, max(characters), lengths)
        else:
            self.vision_tokens += Extent.of(vision_tokens)
            longest = max(map(add, lengths.of(rows.prompts, rows.targets), vision_tokens))
        self.sequence_tokens_max = max(self.sequence_tokens_max, longest)
        self.keys.extend(map(hash, zip(_plain(rows.references), rows.prompts, strict=True)))
        self._add_places(rows)

    def _add_key(self, examined: ExaminedRow, prompt: str, target: str) -> None:
        assert examined.row is not None
        if self.by_bytes and examined.image and examined.image.sha256:
            self.asked.add(examined.line, hash((examined.image.sha256, prompt)), target)
        else:
            self.keys.append(key_of(examined.row.images[0].reference, prompt))

    def _add_label(self, prompt: str, label: str, count: int, line: int) -> None:
        if not label or not count:
            return
        before = self.labels.get((prompt, label)) or Labelled(0, line)
        self.labels[prompt, label] = Labelled(before.count + count, min(before.line, line))

    def _add_labels(self, rows: CleanRows, prompts: Counter[str]) -> None:
        asked = [rows.prompts[place] for place in rows.labels]
        labelled = Counter(zip(asked, rows.labels.values(), strict=True))
        plain = prompts - Counter(asked)
        for (prompt, label), count in labelled.items():
            places = (place for place, other in rows.labels.items() if other == label and rows.prompts[place] == prompt)
            self._add_label(prompt, label, count, 1 + rows.numbers[next(places)])
        for prompt, count in plain.items():
            first = rows.prompts.index(prompt)
            while first in rows.labels:
                first = rows.prompts.index(prompt, first + 1)
            self._add_label(prompt, PLAIN, count, 1 + rows.numbers[first])

    def _add_places(self, rows: CleanRows) -> None:
        joined = "\n".join(["", *rows.references])
        if ":" not in joined and ".." not in joined and "\n/" not in joined:
            return
        for number, reference in zip(rows.numbers, rows.references, strict=True):
            if finding := place_finding(ImageUse(reference, 0, "images[0]"), 1 + number):
                self.add_finding(finding)

    def extend_rows(self, later: Tally) -> None:
        """Add what there is of each row in the part that follows; to be called before :meth:`extend`."""
        self.keys.extend(later.keys)
        self.asked.extend(later.asked, self.lines)
        self.images += [replace(image, line=image.line + self.lines) for image in later.images]

    def extend(self, later: Tally) -> None:
        """Add the counts of the part that follows this one."""
        offset = self.lines
        if later.rows:
            self.add_blanks(range(offset - self.blank_at_end + 1, offset + 1))
        self.blank_at_end = later.blank_at_end if later.rows else self.blank_at_end + later.lines
        self.lines += later.lines
        self.rows += later.rows
        self.samples += later.samples
        self.prompts += later.prompts
        for (prompt, label), labelled in later.labels.items():
            self._add_label(prompt, label, labelled.count, labelled.line + offset)
        self.vision_tokens += later.vision_tokens
        self.characters += later.characters
        self.sequence_tokens_max = max(self.sequence_tokens_max, later.sequence_tokens_max)
        for group in later.found.values():
            self._add_group(group, offset)

    def _add_group(self, group: FindingGroup, offset: int) -> None:
        before = self.found.get(group.kind) or FindingGroup(group.kind, 0, ())
        moved = (replace(finding, line=(finding.line or 0) + offset) for finding in group.examples)
        kept = (*before.examples, *moved)[: self.examples]
        self.found[group.kind] = FindingGroup(group.kind, before.count + group.count, kept)


def key_of(reference: str, prompt: str) -> int:
    """Return the hash by which rows that ask the same of the same image are found."""
    return hash((reference.removeprefix("./"), prompt))


def _plain(references: list[str]) -> list[str]:
    return [reference.removeprefix("./") for reference in references]


def _longest(rows: CleanRows, prompts: Counter[str], characters: int, lengths: TextLengths) -> int:
    """Return the tokens of the longest text; an estimate takes the longest target with the longest prompt."""
    if lengths.are_counted:
        return max(lengths.of(rows.prompts, rows.targets))
    return characters + max(lengths.of(list(prompts), [""] * len(prompts)))
