"""The scripts that a text is written in, by the names of Unicode's characters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

OTHER = "other"
"""Digits, punctuation, symbols and spaces: characters of every script."""

# A character's name begins with its script, but for a few that share one or are called after their shape.
_SAME = {"CJK": "han", "KANGXI": "han", "FULLWIDTH": "latin", "HALFWIDTH": "katakana", "IDEOGRAPHIC": "han"}

_MARKS = re.compile(r"<(?:[felux]cel|nl)>|<\|LOC_\d+\|>")


def without_marks(target: str) -> str:
    """Return a target without the marks of tables and of places, which are no text of the image."""
    return _MARKS.sub("", target) if "<" in target else target


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str:
    """Return the script of a letter or a mark in lower case, such as ``latin`` or ``tibetan``, else ``other``."""
    if not unicodedata.category(character).startswith(("L", "M")):
        return OTHER
    word = unicodedata.name(character, OTHER).partition(" ")[0].partition("-")[0]
    if word in {"COMBINING", "MODIFIER", "VARIATION", "MATHEMATICAL", "SCRIPT", "DOUBLE"}:
        return OTHER
    return _SAME.get(word, word.lower())


def by_script(characters: Mapping[str, int]) -> dict[str, int]:
    """Return how many characters each script has, the commonest first, from how often each character occurs."""
    found: Counter[str] = Counter()
    for character, count in characters.items():
        found[script_of(character)] += count
    return dict(found.most_common())


def main_script(target: str) -> str:
    """Return the script of most letters of a target; ``other`` where it has none."""
    scripts = by_script(Counter(without_marks(target)))
    scripts.pop(OTHER, None)
    return max(scripts, key=scripts.__getitem__) if scripts else OTHER
