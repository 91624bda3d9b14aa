"""LaTeX that balances: braces, environments, delimiters that grow, and the marks of formulas."""

from __future__ import annotations

import re

# A backslash before another sign takes that sign's meaning away, but for the marks of formulas.
_TOKEN = re.compile(
    r"\\begin\s*\{([^{}]*)\}|\\end\s*\{([^{}]*)\}|\\(left|right)(?![A-Za-z])|\\([\[\]()])|\\.|(\$\$?)|([{}])", re.DOTALL
)
# Without these, only braces and the delimiters that grow can be out of balance.
_MORE_TO_BALANCE = re.compile(r"\\(?:[\\{}()\[\]]|begin|end|(?:left|right)[A-Za-z])")
_NOT_BRACES = bytes(set(range(256)) - set(b"{}\x01\x02"))
_OPENS = {"]": "[", ")": "("}


def surely_balances(text: str) -> bool:
    """Say whether a formula of the usual kind balances; ``False`` where :func:`find_imbalance` has to look closer."""
    inside = text[2:-2] if text.startswith("\\[") and text.endswith("\\]") else text
    if "$" in inside or not inside.isascii() or _MORE_TO_BALANCE.search(inside):
        return False
    if "\\left" in inside or "\\right" in inside:
        inside = inside.replace("\\left", "\x01").replace("\\right", "\x02")
    braces = inside.encode().translate(None, _NOT_BRACES)
    while b"{}" in braces or b"\x01\x02" in braces:
        braces = braces.replace(b"{}", b"").replace(b"\x01\x02", b"")
    return not braces


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
