"""XML of others, read safely: without entities of its own, which could grow without end or read other files."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from ocrvl_modal.data.converting.items import Unusable
from ocrvl_modal.data.converting.reading import LARGEST_TEXT_BYTES

_HEAD_BYTES = 4096


def parse(path: Path) -> ElementTree.Element:
    """Return the root of a file; raise :class:`Unusable` for one that is no XML, or that declares entities."""
    try:
        if path.stat().st_size > LARGEST_TEXT_BYTES:
            raise Unusable("too_large", f"{path.name} has over {LARGEST_TEXT_BYTES >> 20} MiB")
        content = path.read_bytes()
        _refuse_entities(content)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unusable("bad_xml", f"{path.name} is no XML: {error}") from error
    except OSError as error:
        raise Unusable("unreadable", f"{path.name} cannot be read: {error.strerror or error}") from error


def local_name(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace, which differs by the version of the format."""
    return str(element.tag).rpartition("}")[2]


def children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the children of a name, in any namespace."""
    return [child for child in element if local_name(child) == name]


def descendants(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the elements of a name below another, in the order of the file, in any namespace."""
    return [found for found in element.iter() if local_name(found) == name]


def root_name(path: Path) -> str:
    """Return the name of a file's root element, from its first bytes; nothing where it has none."""
    found: list[str] = []
    parser = expat.ParserCreate(namespace_separator="}")

    def start(name: str, _attributes: object) -> None:
        found.append(name.rpartition("}")[2])
        # What follows, such as entities that grow, is for :func:`parse` to refuse.
        parser.StartElementHandler = None
        raise _Found

    parser.StartElementHandler = start
    try:
        with path.open("rb") as stream:
            parser.Parse(stream.read(_HEAD_BYTES), False)
    except (OSError, expat.ExpatError, _Found, ValueError, LookupError):
        pass
    return found[0] if found else ""


class _Found(Exception):
    """Ends the reading of a file's head."""


def _refuse_entities(content: bytes) -> None:
    """Go over the file once with the parser itself: it knows every encoding in which a declaration could hide."""
    parser = expat.ParserCreate()
    parser.EntityDeclHandler = _refuse
    parser.Parse(content, True)


def _refuse(*_: object) -> NoReturn:
    raise Unusable("bad_xml", "it declares XML entities, which are not read: write the characters themselves")
