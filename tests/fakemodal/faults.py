"""Rules that make things fail, from ``faults.json`` in the state folder; README.md has their fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Rule = dict[str, Any]


class Faults:
    """The rules, read again when the file changes; then all counts start at zero."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._rules: list[tuple[Rule, list[int]]] = []  # a rule and the number of events that it matched

    def match(self, on: str, **facts: str) -> Rule | None:
        """Count an event with all rules that match it, and return the first that fires."""
        self._read()
        fired = None
        for rule, seen in self._rules:
            if rule.get("on") != on or not all(_agrees(rule, *fact) for fact in facts.items()):
                continue
            seen[0] += 1
            first = rule.get("nth", 1)
            if fired is None and first <= seen[0] < first + rule.get("times", 1):
                fired = rule
        return fired

    def _read(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._stamp = stamp
            self._rules = [(rule, [0]) for rule in json.loads(self._path.read_text())]


def _agrees(rule: Rule, fact: str, value: str) -> bool:
    if fact == "commands":
        return str(rule.get("contains", "")) in value
    if fact == "phase":
        return value == str(rule.get("phase", "before"))
    return str(rule.get(fact, "*")) in ("*", value)
