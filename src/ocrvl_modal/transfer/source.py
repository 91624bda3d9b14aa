"""What is to be fetched, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

from ocrvl_modal.errors import OcrvlError

OnBytes = Callable[[int, int], None]
"""Called now and then with the bytes that are here and those of the whole file; 0 for a size that nobody knows."""

Approve = Callable[[Path, "Fetched"], None]
"""Called with a file that has arrived whole, before it gets its name; of a bad file it raises :class:`WrongContent`."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Source:
    """A file on a server.

    ``size_bytes`` and ``sha256`` are what it must have, where that is known. ``headers`` go with each request to the
    server itself; what is secret among them does not follow a redirect to another one. ``again`` is the command that
    goes on after a break, for hints.
    """

    url: str
    size_bytes: int | None = None
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    again: str = ""

    @property
    def shown(self) -> str:
        """The address as it may be shown and kept: see :func:`without_secrets`."""
        return without_secrets(self.url)

    @property
    def go_on(self) -> str:
        """What a user does after a break."""
        return f"run `{self.again}` again: what is here does not travel again" if self.again else "try again"

    @property
    def anew(self) -> str:
        """What a user does where nothing is left to go on with."""
        return f"run `{self.again}` again" if self.again else "try again"


@dataclass(frozen=True)
class Fetched:
    """A file that is whole, verified and under its name.

    ``received_bytes`` are those that travelled this time; fewer than ``size_bytes`` where an earlier try had begun.
    """

    size_bytes: int
    sha256: str
    received_bytes: int
    etag: str | None


class WrongContent(OcrvlError):
    """What a server has is another file than the one that was asked for: its size or its digest is not right."""


def without_secrets(url: str) -> str:
    """Return an address without credentials, query and fragment: signed addresses carry their secret in the query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
