"""One sample as a card of the page: its image, its target, and what was found wrong with it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from ocrvl_modal.data.checking.kinds import KINDS
from ocrvl_modal.data.previewing.drawing import Drawing, draw, plain
from ocrvl_modal.data.previewing.spotting import Spotted
from ocrvl_modal.data.previewing.thumbnails import Thumbnail
from ocrvl_modal.data.schema import Finding
from ocrvl_modal.data.shaping.scripts import main_script

NO_SAMPLE = "no sample"
"""Stands in the place of a task for a row that is none."""

# Side by side with its text, an image wider than this would be too low to read.
_WIDE = 2.6
_LOWEST_PIXELS = 56
_HIGHEST_PIXELS = 560
_MOST_ENLARGED = 3.0
_LONGEST_RAW = 4000


@dataclass(frozen=True)
class Card:
    """What the page says of one row. ``target`` is the whole line where the row is no sample."""

    line: int
    task: str
    prompt: str
    target: str
    image: str
    findings: Sequence[Finding]
    vision_tokens: int = 0
    text_tokens: int = 0


def card_html(card: Card, thumbnail: Thumbnail | None) -> str:
    """Return the card's HTML; everything in it that comes from the dataset is escaped."""
    is_sample = card.task != NO_SAMPLE
    drawing = draw(card.task, card.target) if is_sample else Drawing(_raw(card.target), is_source=True)
    kinds = " ".join(dict.fromkeys(finding.kind for finding in card.findings))
    wide = thumbnail is not None and thumbnail.width > _WIDE * thumbnail.height
    script = main_script(card.target[:2000]) if is_sample else ""
    return (
        f'<article id="line-{card.line}" class="card{" wide" if wide else ""}" data-task="{_quoted(card.task)}"'
        f' data-kinds="{_quoted(kinds)}" data-script="{_quoted(script)}">'
        f"{_head(card, thumbnail)}"
        f'<div class="sides">{_picture(card, thumbnail, drawing.boxes)}{_target(card, drawing)}</div>'
        f"{_findings(card.findings)}</article>\n"
    )


def _head(card: Card, thumbnail: Thumbnail | None) -> str:
    facts = []
    if thumbnail:
        facts.append(f"{thumbnail.file_width:,} × {thumbnail.file_height:,}")
    if card.vision_tokens:
        facts.append(f"{card.vision_tokens:,} + {card.text_tokens:,} tokens")
    return (
        f'<header><a class="line" href="#line-{card.line}">{card.line:,}</a>'
        f'<span class="task" title="{_quoted(card.prompt)}">{plain(card.task)}</span>'
        f'<span class="name" title="{_quoted(card.image)}"><bdi>{plain(card.image)}</bdi></span>'
        f'<span class="facts">{" · ".join(facts)}</span>'
        f"{_badges(card.findings)}</header>"
    )


def _badges(findings: Sequence[Finding]) -> str:
    kinds = dict.fromkeys(finding.kind for finding in findings)
    return "".join(map(_badge, kinds))


def _badge(kind: str) -> str:
    return f'<span class="badge {KINDS[kind].severity}" title="{_quoted(KINDS[kind].title)}">{kind}</span>'


def _picture(card: Card, thumbnail: Thumbnail | None, boxes: Sequence[Spotted]) -> str:
    if thumbnail is None:
        return '<figure class="absent"><span>no image to show</span></figure>'
    scale = min(_MOST_ENLARGED, max(1.0, _LOWEST_PIXELS / thumbnail.height), _HIGHEST_PIXELS / thumbnail.height)
    width, height = round(thumbnail.width * scale), round(thumbnail.height * scale)
    overlay = "".join(_box(number, spot) for number, spot in enumerate(boxes) if spot.corners)
    drawn = f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none">{overlay}</svg>' if overlay else ""
    return (
        f'<figure><div class="image"><img alt="line {card.line}" loading="lazy" width="{width}"'
        f' height="{height}" src="{thumbnail.address}">{drawn}</div></figure>'
    )


def _box(number: int, spot: Spotted) -> str:
    points = " ".join(f"{x},{y}" for x, y in spot.corners)
    return f'<polygon data-box="{number}" points="{points}"><title>{html.escape(spot.text)}</title></polygon>'


def _target(card: Card, drawing: Drawing) -> str:
    if drawing.is_source:
        return f'<div class="target"><div class="source">{drawing.body}</div></div>'
    source = f'<pre class="source" dir="auto">{plain(card.target)}</pre>'
    return f'<div class="target"><div class="drawn">{drawing.body}</div>{source}</div>'


def _raw(line: str) -> str:
    more = len(line) - _LONGEST_RAW
    cut = f'<span class="unseen">{more:,} characters more</span>' if more > 0 else ""
    return f'<pre class="raw">{plain(line[:_LONGEST_RAW])}{cut}</pre>'


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    items = "".join(f'<li class="{each.severity}">{plain(_words(each))}</li>' for each in findings)
    return f'<ul class="findings">{items}</ul>'


def _words(finding: Finding) -> str:
    where = f" ({finding.path})" if finding.path else ""
    return f"{finding.message}{where} → {finding.hint or KINDS[finding.kind].mend}"


def _quoted(text: str) -> str:
    """Return text for an attribute in double quotes."""
    return html.escape(text, quote=True)
