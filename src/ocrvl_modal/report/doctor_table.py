"""What the doctor found, for people: what is well first, what is broken last, where the eye is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ocrvl_modal.doctor.findings import Result
from ocrvl_modal.report.words import duration

_ORDER = ("pass", "skip", "fail")
_STYLES = {"pass": "green", "skip": "dim", "fail": "bold red"}
_WORDS = {"pass": "passed", "skip": "skipped", "fail": "failed"}


def doctor_report(results: Sequence[Result], seconds: float) -> Iterator[Table | str]:
    """Yield a table for each place, the last lines of failed checks that printed any, and a summary line.

    Places where all is well come first.
    """
    places = dict.fromkeys(result.place for result in results)
    by_place = [[result for result in results if result.place == place] for place in places]
    for there in sorted(by_place, key=lambda each: counts(each)["fail"] > 0):
        if len(places) > 1:
            yield f"\n{there[0].place}"
        yield _table(there)
        yield from _last_lines(there)
    yield summary(results, seconds)


def _last_lines(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if result.last_lines:
            yield f"{result.check} printed last:"
            yield from (f"  {line}" for line in result.last_lines)
            yield ""


def summary(results: Sequence[Result], seconds: float) -> str:
    """Return how many checks passed, were skipped and failed, in one line."""
    numbers = counts(results)
    told = [f"{numbers[verdict]} {_WORDS[verdict]}" for verdict in _ORDER if numbers[verdict] or verdict == "pass"]
    return f"{', '.join(told)}, in {duration(seconds)}"


def counts(results: Sequence[Result]) -> Mapping[str, int]:
    """Return how many results have each verdict."""
    return {verdict: sum(result.verdict == verdict for result in results) for verdict in _ORDER}


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", overflow="fold", max_width=24)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for group in _groups(results):
        table.add_row(*_cells(group))
    return table


def _groups(results: Sequence[Result]) -> list[list[Result]]:
    """Return the results in the table's order; skipped checks that say the same share a row."""
    groups: dict[Any, list[Result]] = {}
    for verdict in _ORDER:
        for number, result in enumerate(results):
            if result.verdict == verdict:
                key: Any = (result.reason, result.hint) if verdict == "skip" else number
                groups.setdefault(key, []).append(result)
    return list(groups.values())


def _cells(group: Sequence[Result]) -> list[Text | str]:
    first = group[0]
    found = Text(first.reason)
    if first.hint:
        found.append(f"\n→ {first.hint}", style="" if first.verdict == "fail" else "dim")
    names = ", ".join(result.check for result in group)
    seconds = "" if first.verdict == "skip" else f"{first.seconds:.1f}"
    return [Text(first.verdict, style=_STYLES[first.verdict]), names, seconds, found]
