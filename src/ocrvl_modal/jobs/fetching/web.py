"""Small files from web servers: many of them side by side, each with patience, and none from a server that is gone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ocrvl_modal._version import __version__
from ocrvl_modal.jobs.fetching.manners import Hosts, ToldToWait, retry_after_s
from ocrvl_modal.transfer.server import why

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

LARGEST_BYTES = 64 << 20
"""An image over this is not fetched."""

_TRIES = 4
_MOST_REDIRECTS = 5
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_CONNECT_TIMEOUT_S = 10.0
_SILENCE_TIMEOUT_S = 30.0
_LONGEST_S = 180.0
_CHUNK_BYTES = 1 << 16
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_GIVEN_UP_AFTER = 12
"""A server that could not be reached for so many files in a row is not asked for the others."""


class NotHad(Exception):
    """Why a file could not be had: a stable word to count by, and the reason in full."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


class _Passing(Exception):
    """A failure that may be gone at the next try."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Web:
    """Fetches small files over HTTP, politely to each server. Threads may share it, and with it the connections."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._pools: dict[str | None, PoolManager] = {}
        self._lock = threading.Lock()
        self._unanswered: Counter[str] = Counter()
        self._hosts = Hosts()

    def get(self, address: str) -> bytes:
        """Return a file's content; raise :class:`NotHad` when it cannot be had, after some tries."""
        host = urlsplit(address).netloc
        for attempt in range(1, _TRIES + 1):
            if self._unanswered[host] >= _GIVEN_UP_AFTER:
                raise NotHad("unreachable", f"{host} does not answer")
            try:
                content = self._get_once(address)
            except _Passing as passing:
                if attempt == _TRIES:
                    self._note(host, answered=passing.kind != "unreachable")
                    raise NotHad(passing.kind, f"{passing} ({_TRIES} times)") from passing
                time.sleep(min(_FIRST_DELAY_S * 2 ** (attempt - 1), _LONGEST_DELAY_S))
            else:
                self._note(host, answered=True)
                return content
        raise AssertionError("the last try returns or raises")

    def _note(self, host: str, *, answered: bool) -> None:
        with self._lock:
            self._unanswered[host] = 0 if answered else self._unanswered[host] + 1

    def _get_once(self, address: str) -> bytes:
        """Ask for a file, and follow where the answers lead, each at its server's turn."""
        from urllib3.exceptions import HTTPError

        try:
            for _ in range(_MOST_REDIRECTS + 1):
                host = urlsplit(address).netloc
                with self._hosts.turn(host):
                    answer = self._ask(address, host)
                if isinstance(answer, bytes):
                    return answer
                address = urljoin(address, answer)
        except ToldToWait as told:
            raise NotHad("told_to_wait", str(told)) from told
        except ValueError as error:
            raise NotHad(
                "bad_address", f"the address, or one that it leads to, cannot be fetched: {why(error)}"
            ) from error
        except (HTTPError, OSError) as error:
            raise _Passing("unreachable", why(error)) from error
        raise NotHad("bad_address", "the address leads in a circle")

    def _ask(self, address: str, host: str) -> bytes | str:
        """Return a file's content, or the address that the answer leads to."""
        from urllib3 import Timeout

        response = self._pool(address).request(
            "GET",
            address,
            headers={"User-Agent": f"ocrvl/{__version__}", "Accept-Encoding": "identity"},
            preload_content=False,
            decode_content=False,
            timeout=Timeout(connect=_CONNECT_TIMEOUT_S, read=_SILENCE_TIMEOUT_S),
            redirect=False,
            retries=False,
        )
        try:
            if location := response.get_redirect_location():
                return location
            self._refuse(response.status, response.headers, host)
            return _read(response)
        finally:
            _let_go(response)

    def _refuse(self, status: int, headers: Mapping[str, str], host: str) -> None:
        if status == 200:
            return
        if status in _PASSING:
            if after_s := retry_after_s(headers):
                self._hosts.leave_alone(host, after_s)
            raise _Passing(f"http_{status}", f"the server answers {status}")
        raise NotHad(f"http_{status}", f"the server answers {status}")

    def _pool(self, address: str) -> PoolManager:
        """Return what keeps the connections to an address: through a proxy where the environment names one."""
        from urllib3 import PoolManager, ProxyManager

        parts = urlsplit(address)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._lock:
            if proxy not in self._pools:
                options: dict[str, Any] = {"maxsize": self._at_once, "num_pools": 32}
                self._pools[proxy] = ProxyManager(proxy, **options) if proxy else PoolManager(**options)
            return self._pools[proxy]


def _read(response: BaseHTTPResponse) -> bytes:
    deadline = time.monotonic() + _LONGEST_S
    content = bytearray()
    while chunk := response.read(_CHUNK_BYTES):
        content += chunk
        if len(content) > LARGEST_BYTES:
            raise NotHad("too_large", f"it is larger than {LARGEST_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise _Passing("too_slow", f"it did not come within {_LONGEST_S:.0f} seconds")
    return bytes(content)


def _let_go(response: BaseHTTPResponse) -> None:
    """Keep the connection for the next file where nothing is left to read; even of nothing the end must be read."""
    if response.length_remaining == 0:
        response.drain_conn()
        response.release_conn()
    else:
        response.close()
