"""LaTeX that balances: braces, environments, delimiters that grow, and the marks of formulas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import repeat

# A backslash before another sign takes that sign's meaning away, but for the marks of formulas.
_TOKEN = re.compile(
    r"\\begin\s*\{([^{}]*)\}|\\end\s*\{([^{}]*)\}|\\(left|right)(?![A-Za-z])|\\([\[\]()])|\\.|(\$\$?)|([{}])", re.DOTALL
)
# Without these, only braces and the delimiters that grow can be out of balance.
_MORE_TO_BALANCE = re.compile(r"\\(?:[\\{}()\[\]]|begin|end|(?:left|right)[A-Za-z])")
# Beside braces: what stands for the delimiters that grow, and for the end of a formula.
_NOT_BRACES = bytes(set(range(256)) - set(b"{}\x01\x02\x03"))
_OPENS = {"]": "[", ")": "("}


def surely_balances(text: str) -> bool:
    """Say whether a formula of the usual kind balances; ``False`` where :func:`find_imbalance` has to look closer."""
    inside = text[2:-2] if text.startswith("\\[") and text.endswith("\\]") else text
    return _all_balance([inside])


def are_balanced_displays(texts: Sequence[str]) -> bool:
    """Say whether each of many formulas is set off, between brackets with backslashes, and surely balances."""
    if not all(map(str.startswith, texts, repeat("\\["))) or not all(map(str.endswith, texts, repeat("\\]"))):
        return False
    return _all_balance([text[2:-2] for text in texts])


def _all_balance(texts: Sequence[str]) -> bool:
    joined = "\x03".join(texts)
    if "$" in joined or not joined.isascii() or _MORE_TO_BALANCE.search(joined):
        return False
    if "\\left" in joined or "\\right" in joined:
        joined = joined.replace("\\left", "\x01").replace("\\right", "\x02")
    braces = joined.encode().translate(None, _NOT_BRACES)
    while b"{}" in braces or b"\x01\x02" in braces:
        braces = braces.replace(b"{}", b"").replace(b"\x01\x02", b"")
    return len(braces) == len(texts) - 1


def find_imbalance(text: str) -> str:
    """Return what is open or closed too much, with its place; nothing where the text balances."""
    opened: list[tuple[str, int]] = []
    for token in _TOKEN.finditer(text):
        begin, end, side, mark, dollars, brace = token.groups()
        place = token.start() + 1
        if brace == "{" or mark in ("[", "(") or side == "left" or begin is not None:
            opened.append((_opener(begin, side, mark, brace), place))
        elif dollars and (not opened or opened[-1][0] != dollars):
            opened.append((dollars, place))
        elif brace or mark or side or end is not None or dollars:
            wanted = dollars or _opener(end, "left" if side else None, _OPENS.get(mark or ""), "{" if brace else None)
            if not opened or opened[-1][0] != wanted:
                return f"{token[0]} at character {place:,} closes {_last(opened)}"
            opened.pop()
    return f"{opened[-1][0]} at character {opened[-1][1]:,} is never closed" if opened else ""


def _opener(environment: str | None, side: str | None, mark: str | None, brace: str | None) -> str:
    """Return what opens a group, as it is written."""
    if environment is not None:
        return f"\\begin{{{environment}}}"
    return f"\\{side or mark}" if side or mark else str(brace)


def _last(opened: list[tuple[str, int]]) -> str:
    return f"{opened[-1][0]} at character {opened[-1][1]:,}" if opened else "nothing"
