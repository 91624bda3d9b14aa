"""What servers can bear: a few requests at once each, and none before the moment that one of them named."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

AT_ONCE_EACH = 6
"""Requests that one server gets at a time: as many as a browser makes."""

LONGEST_WAIT_S = 60.0
"""A server that wants to be left alone for longer is not asked again in this run."""


class ToldToWait(Exception):
    """A server asked to be left alone for longer than it is waited for."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"the server asks to be left alone for {wait_s:.0f} s: run it again then")


class Hosts:
    """Gives each request its turn, by the server that it goes to. Threads share it."""

    def __init__(self, at_once_each: int = AT_ONCE_EACH) -> None:
        self._slots: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(at_once_each))
        self._not_before: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Hold a slot of a server, once it may be asked; raise :class:`ToldToWait` where that is too far off."""
        with self._lock:
            slot = self._slots[host]
        with slot:
            while (wait_s := self._not_before.get(host, 0.0) - time.monotonic()) > 0:
                if wait_s > LONGEST_WAIT_S:
                    raise ToldToWait(wait_s)
                time.sleep(wait_s)
            yield

    def leave_alone(self, host: str, wait_s: float) -> None:
        """Let no request begin to a server for so long."""
        with self._lock:
            self._not_before[host] = max(self._not_before.get(host, 0.0), time.monotonic() + wait_s)


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer's ``Retry-After`` names, as a number or as a date; 0 without one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:10]), 1e9)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    # A date without a zone is GMT.
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
