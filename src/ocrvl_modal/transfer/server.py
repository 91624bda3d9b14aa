"""The server that a file comes from, asked through urllib3: ranges of the file, as streams of blocks."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from ocrvl_modal._version import __version__
from ocrvl_modal.errors import OcrvlError, first_line, usage_error
from ocrvl_modal.transfer.answers import Broken, Changed, Offer, offer_of, refusal
from ocrvl_modal.transfer.source import Source

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_CONNECT_TIMEOUT_S = 15.0
_SILENCE_TIMEOUT_S = 30.0
_MOST_REDIRECTS = 10
_SMALLEST_BLOCK = 64 << 10
_LARGEST_BLOCK = 1 << 20
_BLOCK_S = 0.05
# A signed address that a redirect led to has a short life, and is refused in one of these ways at its end.
_EXPIRED = (400, 401, 403, 404, 410)


class Pace:
    """How much to read at once: what a connection brings in a moment, so that a slow line is noted in small steps."""

    def __init__(self) -> None:
        self.block_bytes = _SMALLEST_BLOCK

    def note(self, asked: int, received: int, seconds: float) -> None:
        """Take in how long a read took."""
        if seconds > _BLOCK_S:
            self.block_bytes = max(asked // 2, _SMALLEST_BLOCK)
        elif received == asked:
            self.block_bytes = min(2 * asked, _LARGEST_BLOCK)


class Stream:
    """The body of an answer, in blocks."""

    def __init__(self, source: Source, offer: Offer, response: BaseHTTPResponse, pace: Pace) -> None:
        self.offer = offer
        self._pace = pace
        self._source = source
        self._response = response
        self._ended = False

    def blocks(self) -> Iterator[bytes]:
        """Yield the body; raise :class:`Broken` where it is not as long as the answer says."""
        missing = self._promised()
        with told_apart(self._source):
            while True:
                asked, began = self._pace.block_bytes, time.monotonic()
                block = self._response.read(asked)
                missing -= len(block)
                if missing < 0 or (missing and not block and self.offer.in_ranges):
                    raise Broken(f"{self._source.shown} answers with more or less than the range that it names")
                if not block:
                    break
                self._pace.note(asked, len(block), time.monotonic() - began)
                yield block
        # A body that was read to its end leaves its connection for the next request.
        self._response.release_conn()
        self._ended = True

    def _promised(self) -> float:
        """Return how many bytes the answer says that it has; the library sees to those of a whole file."""
        in_ranges, start, end = self.offer.in_ranges, self.offer.start, self.offer.end
        return end - start if in_ranges and end is not None else math.inf

    def close(self) -> None:
        """Drop the connection, unless the body was read to its end."""
        if not self._ended:
            self._response.close()

    def wake(self) -> None:
        """Let a thread that waits for this body see its end; it may be called from any other thread."""
        with suppress(Exception):
            self._response.shutdown()


class Server:
    """Opens ranges of one source. Threads may share it; it is used as a block, which ends with its connections."""

    def __init__(self, source: Source, connections: int) -> None:
        self._source = source
        self._connections = connections
        self._location = source.url
        self._managers: dict[tuple[str, str], PoolManager] = {}
        self._lock = threading.Lock()
        self._pace = Pace()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        for manager in self._managers.values():
            manager.clear()

    def open(self, start: int, end: int, etag: str | None = None) -> Stream:
        """Ask for the bytes ``[start, end)``; a server that knows no ranges answers with the whole file.

        Where ``etag`` is given, :class:`Changed` is raised for any other content than the one that it marks.
        """
        wanted = {"Range": f"bytes={start}-{end - 1}"}
        if etag and not etag.startswith("W/"):
            wanted["If-Range"] = etag
        stream = self._stream(wanted)
        offer = stream.offer
        if offer.in_ranges and not (offer.start == start and offer.end is not None and start < offer.end <= end):
            stream.close()
            raise Broken(f"{self._source.shown} answers with another range than was asked for")
        if "If-Range" in wanted and not offer.in_ranges:
            stream.close()
            raise Changed
        return stream

    @property
    def location(self) -> str:
        """Where redirects led to."""
        return self._location

    def read(self, most_bytes: int) -> tuple[bytes, str]:
        """Return the beginning of a page, unpacked where it comes packed, and its type."""
        response = self._ask({})
        try:
            if response.status != 200:
                raise refusal(response.status, response.headers, self._source)
            with told_apart(self._source):
                content = response.read(most_bytes, decode_content=True)
            return content, response.headers.get("Content-Type", "")
        finally:
            response.close()

    def open_whole(self) -> Stream:
        """Ask for the whole file."""
        stream = self._stream({})
        if stream.offer.in_ranges:
            stream.close()
            raise Broken(f"{self._source.shown} answers with a range when asked for the whole")
        return stream

    def _stream(self, wanted: Mapping[str, str]) -> Stream:
        response = self._ask(wanted)
        try:
            return Stream(self._source, offer_of(response.status, response.headers, self._source), response, self._pace)
        except BaseException:
            response.close()
            raise

    def _ask(self, wanted: Mapping[str, str]) -> BaseHTTPResponse:
        """Ask where the last redirect led to, so that not every range takes the long way."""
        location = self._location
        response = self._request(location, wanted)
        if location != self._source.url and response.status in _EXPIRED:
            response.close()
            self._location = self._source.url
            response = self._request(self._source.url, wanted)
        return response

    def _request(self, url: str, wanted: Mapping[str, str]) -> BaseHTTPResponse:
        """Ask at an address, and where it leads to."""
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._request_once(url, wanted)
            location = response.get_redirect_location()
            if not location:
                break
            response.close()
            url = self._led_to(url, location)
        else:
            raise OcrvlError(f"{self._source.shown} leads in a circle: too many redirects", "name another server")
        if response.status in (200, 206):
            self._location = url
        return response

    def _request_once(self, url: str, wanted: Mapping[str, str]) -> BaseHTTPResponse:
        from urllib3 import Timeout

        own = own_headers(self._source) if _origin(url) == _origin(self._source.url) else {}
        with told_apart(self._source):
            # What passes is tried again by whoever reads, who knows how much has arrived.
            return self._manager(url).request(
                "GET",
                _address(url),
                headers={"User-Agent": f"ocrvl/{__version__}", "Accept-Encoding": "identity", **own, **wanted},
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=_CONNECT_TIMEOUT_S, read=_SILENCE_TIMEOUT_S),
                redirect=False,
                retries=False,
            )

    def _led_to(self, url: str, location: str) -> str:
        """Return the address that a redirect names; raise an error for one that must not be followed."""
        shown = self._source.shown
        try:
            target = urljoin(url, location)
            scheme = urlsplit(target).scheme
        except ValueError as error:
            raise OcrvlError(f"{shown} leads to what is no address: {error}", "name another server") from error
        if scheme not in ("http", "https"):
            raise OcrvlError(f"{shown} leads to another kind of server: {scheme}", "name another server")
        if url.startswith("https:") and scheme != "https":
            raise OcrvlError(f"{shown} leads from https to plain http", "name another server")
        return target

    def _manager(self, url: str) -> PoolManager:
        """Return what keeps the connections to this address: through a proxy, where the environment names one."""
        from urllib3 import PoolManager, ProxyManager
        from urllib3.util import make_headers

        # Asking the environment takes longer than asking the server.
        origin = _origin(url)
        with self._lock, told_apart(self._source):
            if origin not in self._managers:
                proxy = _proxy_for(url)
                if proxy is None:
                    manager = PoolManager(maxsize=self._connections)
                else:
                    headers = make_headers(proxy_basic_auth=_credentials(proxy))
                    manager = ProxyManager(proxy, proxy_headers=headers, maxsize=self._connections)
                self._managers[origin] = manager
            return self._managers[origin]


def own_headers(source: Source) -> dict[str, str]:
    """Return what is for the source's own server alone: its headers, and the credentials in its address."""
    from urllib3.util import make_headers

    return {**make_headers(basic_auth=_credentials(source.url)), **source.headers}


@contextmanager
def told_apart(source: Source) -> Iterator[None]:
    """Turn what the library raises into :class:`Broken` for what passes, and an error in words for what does not."""
    from urllib3.exceptions import HTTPError, LocationValueError, SSLError

    try:
        yield
    except LocationValueError as error:
        raise usage_error(f"'{source.shown}' is no address of a server", "write it as https://HOST/PATH") from error
    except (HTTPError, OSError) as error:
        if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise OcrvlError(
                f"the certificate of {source.shown} is not trusted here: {why(error)}",
                "export SSL_CERT_FILE=FILE with the certificates of your network, then " + source.go_on,
            ) from error
        raise Broken(f"{source.shown}: {why(error)}") from error


def why(error: Exception) -> str:
    """Return what went wrong, without the description of the library's objects."""
    text = first_line(error)
    return text.rpartition("): ")[2] or text


def _address(url: str) -> str:
    """Return an address without credentials, which go in a header, and without its fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _credentials(url: str) -> str | None:
    """Return ``user:password`` of an address that has them."""
    return unquote(urlsplit(url).netloc.rpartition("@")[0]) or None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment, or the system's settings, name for an address."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
