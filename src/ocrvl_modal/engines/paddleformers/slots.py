"""How PaddleFormers is told to write a sample: one file, both for what it registers and for what we compare."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

IMAGE = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
"""What PaddleFormers' plugin writes for an image, here with one placeholder for all."""

_CONTENT, _TAIL = "{{content}}", "{{tail}}"
_FILE = Path(__file__).with_name("sample_template.json")


@dataclass(frozen=True)
class Slots:
    """The texts of a template; ``{{content}}`` stands for what the row says.

    PaddleFormers encodes each of them by itself, and joins the tokens.
    """

    prefix: str
    user: str
    assistant: str
    system: str
    separator: str
    suffix: str

    def pieces(self, prompt: str, target: str) -> tuple[str, ...]:
        """Return the texts that PaddleFormers encodes for a sample, in order: the last two are target and end."""
        question = self.user.replace(_CONTENT, IMAGE + prompt)
        return self.prefix, question, self.assistant.replace(_CONTENT, target), self.suffix


def slots(tail: str) -> Slots:
    """Return the template of the family's members that have this tail between prompt and answer."""
    written = json.loads(_FILE.read_text(encoding="utf-8"))
    return Slots(**{name: text.replace(_TAIL, tail) for name, text in written.items()})
