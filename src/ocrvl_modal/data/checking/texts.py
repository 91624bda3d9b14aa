"""What can be wrong with any text: control characters, other forms of the same letters, and loops."""

from __future__ import annotations

import re
import unicodedata

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters but for tabulators and line ends."""

LOOP_CHARACTERS = 60
"""A loop is at least as long as this …"""

LOOP_TIMES = 8
"""… says the same at least as often as this …"""

LOOP_PERIOD = 64
"""… and what it says is at most as long as this."""

PROBE_START, PROBE_END = -24, -12
"""Where a loop is looked for, from a text's end: a model that loops does so until it is cut off."""


def control_characters(text: str) -> str:
    """Return what to say of control characters in a text, nothing where there are none."""
    found = CONTROL.findall(text)
    if not found:
        return ""
    first = f"U+{ord(found[0]):04X} at character {text.index(found[0]) + 1:,}"
    return first if len(found) == 1 else f"{first} and {len(found) - 1:,} more"


def is_nfc(text: str) -> bool:
    """Say whether a text is in Unicode's form NFC, in which the model's own training data is."""
    return unicodedata.is_normalized("NFC", text)


def may_loop(text: str) -> bool:
    """Say quickly whether :func:`find_loop` has to look: what is near the end was said shortly before."""
    if len(text) < LOOP_CHARACTERS:
        return False
    return text.rfind(text[PROBE_START:PROBE_END], PROBE_START - LOOP_PERIOD, PROBE_END - 1) >= 0


def find_loop(text: str) -> tuple[str, int] | None:
    """Return what a text repeats near its end without a pause, and how often; ``None`` where it does not.

    Only what has a letter counts: leaders of dots, rules and columns of zeros are no loops.
    """
    if not may_loop(text):
        return None
    probe, earlier = text[PROBE_START:PROBE_END], len(text) + PROBE_START
    while (earlier := text.rfind(probe, PROBE_START - LOOP_PERIOD, earlier + len(probe) - 1)) >= 0:
        if loop := _loop_of(text, len(text) + PROBE_START - earlier):
            return loop
    return None


def _loop_of(text: str, period: int) -> tuple[str, int] | None:
    """Return the loop of that period around the probe, where there is one."""
    begin = end = len(text) + PROBE_START - period
    while begin > 0 and text[begin - 1] == text[begin - 1 + period]:
        begin -= 1
    while end + period < len(text) and text[end] == text[end + period]:
        end += 1
    length = end + period - begin
    unit = text[begin : begin + period]
    if length < LOOP_CHARACTERS or length // period < LOOP_TIMES or not any(map(str.isalpha, unit)):
        return None
    return unit, length // period
