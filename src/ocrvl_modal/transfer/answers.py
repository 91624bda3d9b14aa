"""How a server's answer is taken: what may be tried again and when, what ends a fetch, and what it says of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ocrvl_modal.errors import ExitCode, OcrvlError, not_found
from ocrvl_modal.transfer.source import Source

_OK, _PARTIAL, _NO_SUCH_RANGE = 200, 206, 416
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
# No number that a file system could not take for a size.
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)$", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


class Broken(Exception):
    """The line or the server failed in a way that passes; ``after_s`` is how long the server asks to be left alone."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class Changed(Exception):
    """The server offers another content under the same address than what was begun."""


@dataclass(frozen=True)
class Offer:
    """What an answer says of the file that it is of, and which bytes of it follow.

    ``size_bytes`` is ``None`` where the server does not say it. An answer without ``in_ranges`` is the whole file.
    """

    size_bytes: int | None
    etag: str | None
    modified: str | None
    start: int
    end: int | None
    in_ranges: bool

    @property
    def mark(self) -> str | None:
        """By what the server tells this content from another: its ETag, or else its date of change."""
        return self.etag or self.modified


def offer_of(status: int, headers: Mapping[str, str], source: Source) -> Offer:
    """Return what a good answer offers; raise for any other, see :func:`refusal`."""
    etag, modified = headers.get("ETag"), headers.get("Last-Modified")
    matched = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    if status == _PARTIAL and matched and matched[1]:
        size = None if matched[3] == "*" else int(matched[3])
        start, end = int(matched[1]), int(matched[2]) + 1
        if not start < end <= (end if size is None else size):
            raise Broken(f"{source.shown} answers with a range that cannot be: {matched[0]}")
        offer = Offer(size, etag, modified, start, end, in_ranges=True)
    elif status == _OK:
        length = headers.get("Content-Length", "")
        size = int(length) if _LENGTH.fullmatch(length) else None
        offer = Offer(size, etag, modified, 0, size, in_ranges=False)
    elif status == _NO_SUCH_RANGE:
        raise Changed
    else:
        raise refusal(status, headers, source)
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity" and source.sha256 is None:
        # Where the digest is known, it judges whether these bytes are the file's own.
        raise OcrvlError(
            f"{source.shown} comes with the encoding '{encoding}', which nobody asked for",
            "name a server that sends the file as it is",
        )
    return offer


def refusal(status: int, headers: Mapping[str, str], source: Source) -> Exception:
    """Return the error of an answer that is no content."""
    what = f"{source.shown} answers {status}"
    if status in _PASSING:
        return Broken(what, _seconds_of(headers.get("Retry-After")))
    if status in (404, 410):
        return not_found(f"{what}: there is no such file", "look at the address, or for another version")
    if status in (401, 403, 407):
        return OcrvlError(
            f"{what}: it wants credentials, or others", f"give those that may read it, then {source.go_on}",
            ExitCode.NOT_PERMITTED,
        )  # fmt: skip
    return OcrvlError(what, f"open that address in a browser; when it works there, {source.go_on}")


def _seconds_of(retry_after: str | None) -> float:
    """Return the seconds of a ``Retry-After`` header, which has them or a date; 0 without one that can be read."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    if not retry_after:
        return 0.0
    try:
        return float(Retry().parse_retry_after(retry_after))
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0
