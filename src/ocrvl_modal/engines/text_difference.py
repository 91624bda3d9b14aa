"""Two texts one above the other, with what differs marked under them."""

from __future__ import annotations

from difflib import SequenceMatcher

_LABELS = ("trained ", "template")
_CONTEXT = 40


def show_difference(ours: str, theirs: str) -> str:
    r"""Return both texts, each in a line with its escapes to be seen and a caret under each character that differs.

    What both begin or end with is cut to what is needed to see where one is. One text that lacks what the other has
    gets a caret at the place.
    """
    shown = [_escaped(text) for text in _without_common_ends(ours, theirs)]
    marks = _marks(*shown)
    lines = []
    for label, characters, differing in zip(_LABELS, shown, marks, strict=True):
        lines.append(f"  {label}  '{''.join(characters)}'")
        carets = "".join(
            ("^" if place in differing else " ") * len(character) for place, character in enumerate([*characters, " "])
        )
        lines.append(f"  {' ' * len(label)}   {carets}".rstrip())
    return "\n".join(line for line in lines if line)


def _without_common_ends(ours: str, theirs: str) -> tuple[str, str]:
    """Cut long stretches that both texts share at their beginning and end."""
    before = _common_length(ours, theirs)
    after = _common_length(ours[before:][::-1], theirs[before:][::-1])
    start, end = max(0, before - _CONTEXT), max(0, after - _CONTEXT)
    return tuple(  # type: ignore[return-value]
        ("…" if start else "") + text[start : len(text) - end] + ("…" if end else "") for text in (ours, theirs)
    )


def _common_length(one: str, other: str) -> int:
    length = min(len(one), len(other))
    return next((place for place in range(length) if one[place] != other[place]), length)


def _escaped(text: str) -> list[str]:
    """Return each character as it can be seen: a line feed as two characters, a space as itself."""
    return [character if character.isprintable() else repr(character)[1:-1] for character in text]


def _marks(ours: list[str], theirs: list[str]) -> tuple[set[int], set[int]]:
    """Return the places in each list that the other has not; the place after a gap stands for it."""
    marked: tuple[set[int], set[int]] = set(), set()
    for kind, *spans in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if kind != "equal":
            for places, (start, end) in zip(marked, (spans[:2], spans[2:]), strict=True):
                places.update(range(start, end) or (start,))
    return marked
