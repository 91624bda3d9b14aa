"""LaTeX as MathML, which a browser draws by itself: only elements and attributes that can do nothing else."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import lru_cache
from xml.etree import ElementTree

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_OPENS = re.compile(r"\\[\[(]")
_LONGEST = 20_000
_ELEMENTS = """
    math mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle mpadded mphantom msub msup msubsup munder mover
    munderover mmultiscripts mprescripts none mtable mtr mtd menclose
"""
_ATTRIBUTES = """
    accent accentunder columnalign columnlines columnspacing depth display displaystyle fence form height largeop
    linethickness lspace mathsize mathvariant maxsize minsize movablelimits notation rowlines rowspacing rspace
    scriptlevel separator stretchy symmetric voffset width
"""
_CHILDREN = {"msup": 2, "msub": 2, "msubsup": 3, "mover": 2, "munder": 2, "munderover": 3}
HARMLESS_ELEMENTS, HARMLESS_ATTRIBUTES = frozenset(_ELEMENTS.split()), frozenset(_ATTRIBUTES.split())


@lru_cache(maxsize=1)
def can_draw_formulas() -> bool:
    """Say whether the library that reads LaTeX is installed."""
    return importlib.util.find_spec("latex2mathml") is not None


def pieces(text: str) -> list[tuple[str, bool | None]]:
    r"""Return a text cut at its formulas: each piece with ``None``, or whether the formula is displayed.

    Formulas stand in ``\[ … \]`` (displayed) and ``\( … \)`` (in the line), as the family's models write them.
    """
    found: list[tuple[str, bool | None]] = []
    at = 0
    for start, end in _formulas(text):
        if start > at:
            found.append((text[at:start], None))
        found.append((text[start + 2 : end - 2], text[start + 1] == "["))
        at = end
    if at < len(text):
        found.append((text[at:], None))
    return found


def _formulas(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each formula starts and ends, marks included; a mark that is never closed is searched for once."""
    closing = {"\\[": "\\]", "\\(": "\\)"}
    at = 0
    while opening := _OPENS.search(text, at):
        at = opening.end()
        end = text.find(closing[opening[0]], at) if opening[0] in closing else -1
        if end < 0:
            closing.pop(opening[0], None)
        else:
            at = end + 2
            yield opening.start(), at


def to_mathml(latex: str, *, displayed: bool) -> str | None:
    """Return a formula as a ``<math>`` element; ``None`` where it cannot be read, or the library is not installed."""
    if not can_draw_formulas() or len(latex) > _LONGEST:
        return None
    from latex2mathml.converter import convert

    try:
        root = ElementTree.fromstring(convert(latex, display="block" if displayed else "inline"))
    except Exception:  # noqa: BLE001 - the library fails in many ways of its own, and the source is shown instead
        return None
    return _harmless(root)


def _with_one_base(element: ElementTree.Element) -> None:
    """Put what an exponent or an index belongs to in one row: a matrix in brackets comes as three elements."""
    spare = len(element) - _CHILDREN.get(element.tag, len(element))
    if spare > 0:
        base = ElementTree.Element("mrow")
        for child in list(element)[: spare + 1]:
            element.remove(child)
            base.append(child)
        element.insert(0, base)


def _harmless(root: ElementTree.Element) -> str | None:
    """Return the element without its namespace and without what is not in the lists above; its text gets escaped."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
        if element.tag not in HARMLESS_ELEMENTS:
            return None
        _with_one_base(element)
        for name in set(element.attrib) - HARMLESS_ATTRIBUTES:
            del element.attrib[name]
    return ElementTree.tostring(root, encoding="unicode", method="html")
