"""How much has arrived, told now and then while many threads fetch."""

from __future__ import annotations

import threading
import time

from ocrvl_modal.jobs.progress import report_progress

_INTERVAL_S = 0.5


class Meter:
    """Adds up what arrives under many names, and reports the sum at most twice a second, and once at the end."""

    def __init__(self, what: str, total: int, here: int = 0) -> None:
        """``here`` counts as done already."""
        self._what = what
        self._total = total
        self._of: dict[str, int] = {}
        self._sum = here
        self._told_at = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Meter:
        # How fast it goes shows from here on.
        if self._total:
            self._report()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._total:
            self._report()

    def tell(self, name: str, done: int) -> None:
        """Say how much of ``name`` has arrived by now."""
        with self._lock:
            self._sum += done - self._of.get(name, 0)
            self._of[name] = done
            if time.monotonic() - self._told_at < _INTERVAL_S:
                return
            self._told_at = time.monotonic()
            self._report()

    def tell_all(self, done: int, total: int) -> None:
        """Say how much has arrived of something whose size shows only now."""
        # Of a size that nobody knows, there is always more to come.
        self._total = total or done + 1
        self.tell("", done)

    def _report(self) -> None:
        report_progress(self._what, min(self._sum, self._total), self._total)
