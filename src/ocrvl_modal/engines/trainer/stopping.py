"""When the trainer must end early: it was asked to, or whoever started it is gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE

SUPERVISOR_VARIABLE = "OCRVL_SUPERVISOR_PID"
"""Names the process whose end must end the trainer, however many processes stand between the two."""

_POLL_SECONDS = 0.3


class StopRequest:
    """Remembers SIGTERM and SIGINT until the training loop has finished its step.

    Before :attr:`training` is set there is nothing to save, and the process ends at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self.training = False

    def install(self) -> None:
        """Take both signals from now on."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self.training:
            raise SystemExit(STOPPED_EXIT_CODE)


def exit_with_supervisor() -> None:
    """Watch, in a thread, that the parent and the supervisor live; end this process when either does not.

    An engine that nobody reads any more would burn a GPU and write over the checkpoints of the next attempt.
    """
    parent = os.getppid()
    supervisor = int(os.environ.get(SUPERVISOR_VARIABLE) or parent)
    threading.Thread(target=_watch, args=(parent, supervisor), name="supervisor-watch", daemon=True).start()


def _watch(parent: int, supervisor: int) -> NoReturn:
    while os.getppid() == parent and _lives(supervisor):
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed process that nobody has waited for still takes signals.
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (OSError, UnicodeDecodeError, IndexError):
        return True
