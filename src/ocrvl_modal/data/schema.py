"""What a dataset is made of: rows, the samples that trainers take of them, and what is found wrong with either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as with_default
from pathlib import Path
from typing import Any, Literal

from ocrvl_modal.data.checking.kinds import KINDS, Severity

IMAGE_MARK = "<image>"
"""Stands for the image in the user's turn of the messages form."""

RESERVED = (
    IMAGE_MARK,
    "<|IMAGE_START|>",
    "<|IMAGE_PLACEHOLDER|>",
    "<|IMAGE_END|>",
    "<|begin_of_sentence|>",
    "<|end_of_sentence|>",
    "</s>",
)
"""Marks of the model's own, which no text may have."""

LONGEST_PATH = 4096
"""Characters that a path may have; what is longer is an image's content."""

Role = Literal["system", "user", "assistant"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Sample:
    """One image, what the model is asked of it, and what it should answer.

    ``image`` is absolute; ``line`` is the row's line in its file, counted from 1.
    """

    image: Path
    prompt: str
    target: str
    line: int


@dataclass(frozen=True)
class Finding:
    """Something that training would stumble over in a row, or in a whole file where ``line`` is ``None``.

    ``kind`` is one of :data:`~ocrvl_modal.data.checking.kinds.KINDS`, ``message`` is for the user, ``path`` is the
    place in the row's JSON, such as ``messages[1].content``, and ``hint`` mends it where there is more to say than
    the kind does.
    """

    kind: str
    message: str
    line: int | None = None
    path: str = ""
    hint: str = ""

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"

    @property
    def severity(self) -> Severity:
        """How grave findings of this kind are."""
        return KINDS[self.kind].severity

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as it stands in JSON output."""
        return {
            "line": self.line,
            "path": self.path,
            "kind": self.kind,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """Rebuild a finding from :meth:`to_dict`."""
        return cls(data["kind"], data["message"], data["line"], data["path"], data["hint"])


class RowRefused(Exception):
    """A line is no row, or a row is no sample: ``kind``, ``message`` and ``path`` as in :class:`Finding`."""

    def __init__(self, kind: str, message: str, path: str = "") -> None:
        super().__init__(kind, message, path)
        self.kind = kind
        self.message = message
        self.path = path

    def at(self, line: int) -> Finding:
        """Return the refusal as a finding of a line."""
        return Finding(self.kind, self.message, line, self.path)


@dataclass(frozen=True)
class Turn:
    """What one side says; ``learned`` tells whether the model is trained to say it.

    ``path`` is the text's place in the row's JSON, which says nothing of what the row means and is not compared.
    """

    role: Role
    text: str
    learned: bool
    path: str = with_default(default="", compare=False)


@dataclass(frozen=True)
class ImageUse:
    """An image as the row names it, which stands before the text of ``turns[turn]``; ``path`` as in :class:`Turn`."""

    reference: str
    turn: int
    path: str = with_default(default="", compare=False)


@dataclass(frozen=True)
class Row:
    """What a row of either form says: user and assistant in turn, perhaps a system turn before them, and the images."""

    turns: tuple[Turn, ...]
    images: tuple[ImageUse, ...]

    def sample(self, folder: Path, line: int) -> Sample:
        """Return the row as trainers take it: one image, one question, one answer to learn.

        A relative image is taken from ``folder``. Raises :class:`RowRefused` for a row that is more or less than that,
        or whose image is no file.
        """
        question, answer = self._question_and_answer()
        image = self._image()
        for turn, part in ((question, "prompt"), (answer, "target")):
            _refuse_reserved(turn, part)
        if not answer.text.strip():
            raise RowRefused("empty_target", "the target is empty: there is nothing to learn from it", answer.path)
        return Sample(folder / _file_named_by(image), question.text, answer.text, line)

    def _question_and_answer(self) -> tuple[Turn, Turn]:
        first = self.turns[0]
        if first.role == "system":
            raise RowRefused(
                "system_turn", "the row has a system turn, which this family of models is not asked with", first.path
            )
        if len(self.turns) > 2:
            raise RowRefused(
                "multi_turn",
                f"the row has {len(self.turns)} turns; a sample is one question and one answer",
                self.turns[2].path,
            )
        return self.turns[0], self.turns[1]

    def _image(self) -> ImageUse:
        if len(self.images) != 1:
            raise RowRefused("image_count", f"the row has {len(self.images) or 'no'} images; a sample has exactly one")
        (image,) = self.images
        if image.turn != 0:
            raise RowRefused(
                "image_place", "the image stands in the answer, and must come before the question", image.path
            )
        return image


def is_url(reference: str) -> bool:
    """Say whether an image is named by an address on the network, and not by a path."""
    return _URL.match(reference) is not None


def can_be_asked(prompt: str) -> bool:
    """Say whether a text can be a prompt: it says something, and has no mark of the model's own."""
    return bool(prompt.strip()) and not any(word in prompt for word in RESERVED)


def shorten(text: str, length: int = 60) -> str:
    """Return ``text`` cut to a length that suits a message."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _refuse_reserved(turn: Turn, part: str) -> None:
    for word in RESERVED:
        if word in turn.text:
            raise RowRefused(
                "reserved_text", f"the {part} has {word}, which is a mark of the model's own, not text", turn.path
            )


def _file_named_by(image: ImageUse) -> str:
    reference = image.reference
    if not reference or "\0" in reference:
        raise RowRefused("wrong_shape", "the image's path is empty or has a zero byte", image.path)
    if reference.startswith("data:") or len(reference) > LONGEST_PATH:
        raise RowRefused(
            "image_embedded", "the image is embedded in the row: save it as a file and name its path", image.path
        )
    if is_url(reference):
        raise RowRefused("image_url", f"the image is a URL ({shorten(reference)}), not a file", image.path)
    return reference
