"""One row after another, looked at closely: what no quick look proves clean, and what a preview shows."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.images import ImageLook, look_at_image
from ocrvl_modal.data.checking.lengths import CountMany, TextLengths
from ocrvl_modal.data.checking.targets import labelling, target_findings
from ocrvl_modal.data.checking.texts import control_characters, is_nfc
from ocrvl_modal.data.forms import parse_row
from ocrvl_modal.data.rows import blank_line, layout_finding, lines_of, no_row, require_file
from ocrvl_modal.data.schema import Finding, ImageUse, Row, RowRefused, Sample, Turn, can_be_asked, is_url, shorten
from ocrvl_modal.errors import did_you_mean
from ocrvl_modal.models import task_of

LookAt = Callable[[Path], ImageLook]

_CACHED_PROMPTS = 1024
# Begin of sentence, image start, image end, and the end after the target.
_FRAMING_TOKENS = 4


@dataclass(frozen=True)
class ExaminedRow:
    """One line of a file and all that was found in it.

    ``row`` is what it says, ``None`` where it is no row; ``sample`` is what a trainer takes of it, ``None`` where it
    cannot. ``label`` is the convention in which the target is written, for a prompt that the model knows.
    """

    line: int
    row: Row | None = None
    sample: Sample | None = None
    findings: tuple[Finding, ...] = ()
    vision_tokens: int = 0
    text_tokens: int = 0
    label: str = ""
    image: ImageLook | None = None

    @property
    def question_and_answer(self) -> tuple[Turn, Turn] | None:
        """What a sample would be made of, whatever is wrong with the row's image."""
        return question_and_answer(self.row) if self.row else None

    @property
    def has_error(self) -> bool:
        """Whether the row cannot be trained on."""
        return any(finding.severity == "error" for finding in self.findings)


class Examiner:
    """Examines rows of one file: ``folder`` is the file's, ``look_at`` opens images where that is wanted."""

    def __init__(
        self, demands: Demands, folder: Path, look_at: LookAt | None = None, count_many: CountMany | None = None
    ) -> None:
        self.demands = demands
        self.lengths = TextLengths(count_many, demands.tail)
        self._folder = folder
        self._look_at = look_at
        self._known = frozenset(demands.prompts)

    def examine(self, line: bytes, number: int, *, with_image: bool = True) -> ExaminedRow:
        """Return what a line without white space about it holds; its image is looked at where that is wanted."""
        try:
            row = parse_row(line)
        except RowRefused as refused:
            return ExaminedRow(number, findings=(refused.at(number),))
        sample, findings = self._sample(row, number)
        findings += [found for turn in row.turns for found in text_findings(turn, number)]
        findings += [found for use in row.images if (found := place_finding(use, number))]
        examined = ExaminedRow(number, row, sample, tuple(findings))
        if pair := question_and_answer(row):
            examined = self._with_answer(examined, *pair)
        return self.with_length(self.with_image(examined) if with_image else examined)

    def _sample(self, row: Row, number: int) -> tuple[Sample | None, list[Finding]]:
        try:
            return row.sample(self._folder, number), []
        except RowRefused as refused:
            return None, [refused.at(number)]

    def _with_answer(self, examined: ExaminedRow, question: Turn, answer: Turn) -> ExaminedRow:
        number, known = examined.line, question.text in self._known
        task = task_of(question.text)
        found = [] if known else [_unknown_prompt(question, number, self.demands.prompts)]
        if answer.text.strip():
            found += [
                Finding(kind, message, number, answer.path) for kind, message in target_findings(task, answer.text)
            ]
        label = labelling(task, answer.text) if known else ""
        return replace(examined, findings=(*examined.findings, *found), label=label)

    def with_image(self, examined: ExaminedRow) -> ExaminedRow:
        """Return the row with what its image's file turned out to be."""
        if examined.sample is None or examined.row is None or self._look_at is None:
            return examined
        look = self._look_at(examined.sample.image)
        path = examined.row.images[0].path
        found = [Finding(kind, message, examined.line, path) for kind, message in look.findings]
        return replace(examined, findings=(*examined.findings, *found), vision_tokens=look.vision_tokens, image=look)

    def with_length(self, examined: ExaminedRow) -> ExaminedRow:
        """Return the row with its length in tokens, which is certain only where a tokenizer counts."""
        pair = examined.question_and_answer
        if pair is None:
            return examined
        question, answer = (turn.text for turn in pair)
        (text_tokens,) = self.lengths.of([question], [answer])
        certain = examined.vision_tokens + (text_tokens if self.lengths.are_counted else _FRAMING_TOKENS)
        found = []
        if certain > self.demands.max_seq_len:
            found.append(self._too_long(examined, certain))
        elif (most := examined.vision_tokens + text_tokens) > self.demands.max_seq_len:
            found.append(self._maybe_too_long(examined, most))
        return replace(examined, findings=(*examined.findings, *found), text_tokens=text_tokens)

    def _too_long(self, examined: ExaminedRow, certain: int) -> Finding:
        takes = f"{certain} tokens" if self.lengths.are_counted else f"at least {certain} tokens"
        return Finding(
            "too_long",
            f"the sample takes {takes}, {examined.vision_tokens} of them for the image, and"
            f" {self.demands.max_seq_len} are allowed",
            examined.line,
            hint="cut the image and its target into parts, or --set data.max_seq_len=… where the GPU has the memory",
        )

    def _maybe_too_long(self, examined: ExaminedRow, most: int) -> Finding:
        return Finding(
            "maybe_too_long",
            f"the sample takes at most {most} tokens, as an estimate, and {self.demands.max_seq_len} are allowed",
            examined.line,
        )


def examine_rows(
    path: Path, demands: Demands, *, images: bool = True, decode: bool = True, count_many: CountMany | None = None
) -> Iterator[ExaminedRow]:
    """Yield every line of a file examined, in order, by this process alone; blank lines at the end are left out.

    ``images`` opens the images too, and ``decode`` decodes them. What concerns the file as a whole is on line 0.
    Raises what :func:`~ocrvl_modal.data.rows.require_file` raises.
    """
    require_file(path)
    if layout := layout_finding(path):
        yield ExaminedRow(0, findings=(layout,))
        return
    look = (lambda image: look_at_image(image, demands.pixels, decode=decode)) if images else None
    examiner = Examiner(demands, path.absolute().parent, look, count_many)
    any_row = False
    for number, line in lines_of(path):
        any_row = any_row or bool(line)
        yield examiner.examine(line, number) if line else ExaminedRow(number, findings=(blank_line(number),))
    if not any_row:
        yield ExaminedRow(0, findings=(no_row(),))


def text_findings(turn: Turn, number: int) -> Iterator[Finding]:
    """Yield what is wrong with the characters of a text."""
    if controls := control_characters(turn.text):
        yield Finding("control_characters", f"the text has control characters: {controls}", number, turn.path)
    if not is_nfc(turn.text):
        place = _first_difference(turn.text)
        yield Finding("not_nfc", f"the text is not in the form NFC, from character {place:,} on", number, turn.path)


def place_finding(use: ImageUse, number: int) -> Finding | None:
    """Return what is wrong with where an image lies, if that is a path at all."""
    reference = use.reference
    if is_url(reference) or reference.startswith("data:"):
        return None
    if reference.startswith("/") or reference[1:3] in (":\\", ":/"):
        return Finding("absolute_path", f"the path {shorten(reference)} is absolute", number, use.path)
    if ".." in PurePosixPath(reference).parts:
        return Finding("parent_path", f"the path {shorten(reference)} climbs out of the folder", number, use.path)
    return None


def question_and_answer(row: Row) -> tuple[Turn, Turn] | None:
    """Return what a row asks and how it answers; ``None`` where that is not one of each."""
    if [turn.role for turn in row.turns] != ["user", "assistant"]:
        return None
    return row.turns[0], row.turns[1]


def _unknown_prompt(question: Turn, number: int, prompts: Sequence[str]) -> Finding:
    return Finding(
        "unknown_prompt",
        f"unknown prompt {shorten(question.text)!r}: {_nearest_prompt(question.text, tuple(prompts))}",
        number,
        question.path,
        _how_to_declare(question.text),
    )


def _how_to_declare(prompt: str) -> str:
    """Return how a prompt of the user's own is made known, with the prompt itself where it can be copied."""
    own = prompt if can_be_asked(prompt) and prompt.isprintable() and len(prompt) <= 60 else "My prompt:"
    setting = shlex.quote(f"data.extra_prompts={json.dumps([own], ensure_ascii=False)}")
    return f"if it is a prompt of your own: --extra-prompt {shlex.quote(own)} in data check, --set {setting} in train"


@lru_cache(_CACHED_PROMPTS)
def _nearest_prompt(prompt: str, prompts: tuple[str, ...]) -> str:
    return did_you_mean(shorten(prompt, 200), prompts)


def _first_difference(text: str) -> int:
    normal = unicodedata.normalize("NFC", text)
    same = (one == other for one, other in zip(text, normal, strict=False))
    return next((place for place, is_same in enumerate(same, start=1) if not is_same), len(normal) + 1)
