"""Signals that wait for a safe moment: one that broke in between a line and its row would lose the row."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""By which a process is interrupted, told to end, and, on Modal, told that its input is cancelled."""


@contextmanager
def held_signals() -> Iterator[Callable[[], None]]:
    """Hold what would stop this process while the block runs; yield a function that lets it through.

    Only signals whose handler is one of Python's are held, and only in the main thread, where handlers run. A signal
    that is held when the block ends is let through then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pending: list[int] = []
    earlier: dict[int, Callable[[int, FrameType | None], Any]] = {}
    for number in _STOPPING:
        handler = signal.getsignal(number)
        if callable(handler):
            earlier[number] = handler
            signal.signal(number, lambda came, _frame: pending.append(came))

    def let_through() -> None:
        if pending:
            arrived = pending.pop(0)
            earlier[arrived](arrived, None)

    try:
        yield let_through
    finally:
        for held, handler in earlier.items():
            if signal.getsignal(held) is not signal.SIG_IGN:
                signal.signal(held, handler)
    let_through()
