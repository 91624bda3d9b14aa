"""A target as a person wants to see it: a table as a table, a formula as a formula. All that it says is escaped."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

from ocrvl_modal.data.otsl import otsl_to_html
from ocrvl_modal.data.previewing.formulas import pieces, to_mathml
from ocrvl_modal.data.previewing.spotting import Spotted, spotted

# What a browser would not show, or what would turn the text around it; joiners belong to many scripts' spelling.
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True)
class Drawing:
    """A target as HTML, the boxes that belong over its image, and whether the HTML is just the target's text."""

    body: str
    boxes: tuple[Spotted, ...] = ()
    is_source: bool = False


def draw(task: str, target: str) -> Drawing:
    """Return how a target of a task looks; as its plain text where it cannot be drawn as its task says."""
    if task == "table" and (table := otsl_to_html(target)):
        return Drawing(f'<div class="scrolls">{table}</div>')
    if task == "chart":
        return Drawing(f'<div class="scrolls">{_chart(target)}</div>')
    if task == "spotting":
        found = spotted(target)
        return Drawing(_list(found), tuple(found))
    return _text(target, whole_is_formula=task == "formula")


def plain(text: str) -> str:
    """Return a text as HTML that shows every character of it, also those that have no look of their own."""
    return _UNSEEN.sub(_mark, html.escape(text))


def _mark(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\t":
        return '<span class="unseen" title="tab">⇥\t</span>'
    name = unicodedata.name(character, "control character")
    return f'<span class="unseen" title="{html.escape(name.lower())}">U+{ord(character):04X}</span>'


def _text(target: str, *, whole_is_formula: bool) -> Drawing:
    parts = pieces(target)
    if whole_is_formula and all(displayed is None for _, displayed in parts):
        parts = [(target, True)]
    drawn = [_piece(text, displayed) for text, displayed in parts]
    as_it_is = all(displayed is None for _, displayed in parts)
    return Drawing(f'<div class="text" dir="auto">{"".join(drawn)}</div>', is_source=as_it_is)


def _piece(text: str, displayed: bool | None) -> str:
    if displayed is None:
        return plain(text)
    return to_mathml(text, displayed=displayed) or f'<code class="latex">{plain(text.strip())}</code>'


def _chart(target: str) -> str:
    rows = [line.split("|") for line in target.splitlines() if line.strip()]
    drawn = []
    for number, cells in enumerate(rows):
        tag = "th" if number == 0 else "td"
        drawn.append("".join(f'<{tag} dir="auto">{plain(cell.strip())}</{tag}>' for cell in cells))
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in drawn) + "</table>"


def _list(found: list[Spotted]) -> str:
    items = "".join(
        f'<li data-box="{number}"{"" if each.corners else " class=unplaced"} dir="auto">{plain(each.text)}</li>'
        for number, each in enumerate(found)
    )
    return f'<ol class="spotted">{items}</ol>'
