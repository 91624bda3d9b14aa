"""How often something that fails is tried again, and how long is waited in between."""

from __future__ import annotations

from ocrvl_modal.errors import Unreachable
from ocrvl_modal.transfer.answers import Broken
from ocrvl_modal.transfer.source import Source

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
LONGEST_OBEYED_S = 300.0
"""A server that asks for more time than this is told of; nobody sits it out in front of a terminal."""


class Patience:
    """Counts failures in a row of one thing."""

    def __init__(self, most_tries: int) -> None:
        self._most_tries = most_tries
        self._failed = 0

    def renew(self) -> None:
        """Forget the failures, since something has worked."""
        self._failed = 0

    def delay_after(self, broken: Broken, source: Source) -> float:
        """Return the seconds to wait before the next try; raise where there is to be none."""
        self._failed += 1
        if broken.after_s > LONGEST_OBEYED_S:
            minutes = -(-broken.after_s // 60)
            raise Unreachable(f"{broken}, and asks to be left alone for {minutes:.0f} min", f"then {source.go_on}")
        if self._failed >= self._most_tries:
            raise Unreachable(f"{broken} ({self._failed} times)", f"check the network, then {source.go_on}")
        doubled: float = FIRST_DELAY_S * 2 ** (self._failed - 1)
        return max(broken.after_s, min(doubled, LONGEST_DELAY_S))
