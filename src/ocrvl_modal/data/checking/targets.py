"""What can be wrong with an answer, by the task that was asked for.

How each task is answered: the models' own outputs and the examples of their makers (text as it stands, OTSL tables,
LaTeX formulas, charts as rows of cells with ``|`` between them, and spotting as a text and four corners a line).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ocrvl_modal.data.checking.latex import find_imbalance
from ocrvl_modal.data.checking.texts import find_loop
from ocrvl_modal.data.otsl import check_otsl
from ocrvl_modal.data.schema import shorten

_CORNERS = re.compile(r"(?:<\|LOC_(?:1000|\d{1,3})\|>){8}")
_SEPARATORS = frozenset("|-: \t\r")
_OTSL_TOKENS = ("<fcel>", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>")
_HTML_TAGS = ("<table", "<html", "<div", "<body", "<thead", "<tr", "<!doctype", "<p>")
_FORMULA_MARKS = {"\\[": "\\[ \\]", "\\(": "\\( \\)", "$$": "$$ $$", "$": "$ $"}
_HEAD = 16

BARE = "bare LaTeX"
OTSL = "OTSL"

PLAIN = "plain text"
"""The labelling of an answer that no sign tells from plain text."""

ODD_STARTS = frozenset("<{[|$\\")
"""How an answer begins whose :func:`labelling` may be another than plain text."""


def target_findings(task: str | None, target: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the message of all that is wrong with an answer; a prompt of the user's own has no task."""
    if loop := find_loop(target):
        unit, times = loop
        yield "repetition", f"the target says {shorten(unit, 30)!r} {times} times in a row"
    if has_markdown_table(target):
        yield "markdown_table", "the target has a Markdown table, which ERNIEKit rewrites"
    if task == "table" and (broken := check_otsl(target)):
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        yield "otsl", f"the table is no OTSL: {broken[0]}{more}"
    elif task == "formula" and (imbalance := find_imbalance(target)):
        yield "latex", f"the formula does not balance: {imbalance}"
    elif task == "chart" and (widths := _unequal_widths(target)):
        yield "chart_width", f"the chart's rows have unequal numbers of cells: {widths}"
    elif task == "spotting" and (line := _line_without_corners(target)):
        yield "spotting", f"line {line} of the target does not end with eight LOC tokens from 0 to 1000"


def labelling(task: str | None, target: str) -> str:
    """Return the convention that an answer is written in: one prompt should have one."""
    text = target.strip()
    if task == "formula":
        return _FORMULA_MARKS[mark] if (mark := text[:2]) in _FORMULA_MARKS else _FORMULA_MARKS.get(mark[:1], BARE)
    head = text[:_HEAD].lower()
    if head.startswith(_OTSL_TOKENS):
        return OTSL
    if head.startswith(_HTML_TAGS):
        return "HTML"
    if head.startswith("|"):
        return "a Markdown table"
    return "JSON" if _is_json(text) else PLAIN


def has_markdown_table(target: str) -> bool:
    """Say whether a line separates a Markdown table's head from its body."""
    if "--" not in target or "|" not in target:
        return False
    return any("--" in line and "|" in line and _SEPARATORS.issuperset(line) for line in target.split("\n"))


def _is_json(text: str) -> bool:
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _unequal_widths(target: str) -> str:
    widths = sorted({line.count("|") + 1 for line in target.split("\n") if line.strip()})
    return " and ".join(map(str, widths[:4])) if len(widths) > 1 else ""


def _line_without_corners(target: str) -> int:
    """Return the number of the first line that is no text with four corners behind it, 0 where all are."""
    for number, line in enumerate(target.split("\n"), start=1):
        text, mark, corners = line.rstrip().partition("<|LOC_")
        if line.strip() and not (text.strip() and _CORNERS.fullmatch(mark + corners)):
            return number
    return 0
