"""Calling Modal Functions: short ones that are waited for, and the state of those that go on by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ocrvl_modal.app import FunctionOptions, build_app
from ocrvl_modal.backends.base import OnProgress, Pulse
from ocrvl_modal.backends.modal_words import in_words
from ocrvl_modal.errors import OcrvlError, first_line
from ocrvl_modal.jobs.answers import read_answer
from ocrvl_modal.jobs.progress import parse_progress

if TYPE_CHECKING:
    import modal

_LAST_LINES = 15
_LISTENING_WAIT_S = 2.0


@contextmanager
def running(app: modal.App, *, detach: bool = False) -> Iterator[None]:
    """Run an app for the length of a block. Modal's own block takes a Ctrl-C for its good end; in this one it stays."""
    interrupt: KeyboardInterrupt | None = None
    with in_words(), app.run(detach=detach):
        try:
            yield
        except KeyboardInterrupt as pressed:
            interrupt = pressed
            raise
    if interrupt is not None:
        raise interrupt


def call_and_wait(options: FunctionOptions, request: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Run a short job in an app of its own, and return its result."""
    app, function = build_app(options)
    with running(app), _listening(app, on_progress) as lines:
        try:
            answer: dict[str, Any] = function.remote(options.name, request)
        except Exception as error:
            raise _died(options.name, error, lines) from error
    return read_answer(answer)


@contextmanager
def _listening(app: modal.App, on_progress: OnProgress) -> Iterator[deque[str]]:
    """Pass on the progress that a job tells in its log; yield the last other lines."""
    listener = _Listener(app, on_progress)
    listener.start()
    try:
        yield listener.last
    finally:
        listener.stop()


class _Listener(threading.Thread):
    """Follows an app's log. It has an event loop of its own, since a request to Modal can only be broken off there."""

    def __init__(self, app: modal.App, on_progress: OnProgress) -> None:
        super().__init__(daemon=True)
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._app = app
        self._on_progress = on_progress
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._listen())

    def run(self) -> None:
        """Listen until the log ends or :meth:`stop` is called."""
        # A log that cannot be followed must not end what it is the log of.
        with contextlib.suppress(Exception, asyncio.CancelledError):
            self._loop.run_until_complete(self._task)

    def stop(self) -> None:
        """End the listening."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(_LISTENING_WAIT_S)

    async def _listen(self) -> None:
        rest = ""
        async for entry in self._app.logs.stream.aio():
            *lines, rest = (rest + entry.message).split("\n")
            for line in lines:
                self._hear(line)

    def _hear(self, line: str) -> None:
        progress = parse_progress(line)
        if progress:
            self._on_progress(*progress)
        elif line.strip():
            self.last.append(line.rstrip())


def _died(job: str, error: Exception, lines: deque[str]) -> Exception:
    """Return the error of a call that gave no answer: with its last lines where its container died."""
    from modal import exception

    told = (exception.AuthError, exception.ConnectionError, exception.ServiceError, exception.ResourceExhaustedError)
    if isinstance(error, (*told, OcrvlError)):
        return error
    time.sleep(_LISTENING_WAIT_S)
    shown = "\n".join(lines)
    return OcrvlError(
        f"the job '{job}' died on Modal: {first_line(error)}\n{shown}".rstrip(),
        "try again; if it stays, report these lines",
    )


def feel_pulse(call_id: str, app_id: str) -> Pulse:
    """Return whether a call of an app still runs or waits; where it has ended without a word in its record, why.

    Polling for the result is the one way to tell that knows all states: the client's call graph takes a container that
    ran out of memory for a pending one.
    """
    import modal
    from modal import exception

    call = modal.FunctionCall.from_id(call_id)
    try:
        answer = call.get(timeout=0)
    except exception.OutputExpiredError:
        return Pulse(alive=False, reason="it ended more than a week ago")
    except exception.FunctionTimeoutError:
        return Pulse(alive=False, reason="it ran into Modal's time limit, and its retries are used up")
    except TimeoutError:
        return Pulse(alive=True)
    except exception.NotFoundError:
        return Pulse(alive=False, reason="Modal does not know its call any more")
    except (Exception, exception.InputCancellation) as error:
        if _is_of_the_request(error):
            with in_words():
                raise
        if _was_cancelled(call, error):
            return Pulse(alive=False, reason="it was cancelled", cancelled=True)
        return Pulse(alive=False, reason=_end_in_words(error, app_id))
    return Pulse(alive=False, reason=answer.get("error", ""))


def _is_of_the_request(error: BaseException) -> bool:
    """Say whether Modal did not answer what was asked, so that nothing is known of the call."""
    from modal import exception

    of_the_call = (
        exception.RemoteError,
        exception.InternalFailure,
        exception.ExecutionError,
        exception.DeserializationError,
    )
    return isinstance(error, (exception.Error, OSError)) and not isinstance(error, of_the_call)


def _end_in_words(error: BaseException, app_id: str) -> str:
    text = first_line(error)
    if re.search(r"\bOOM\b|out of memory|memory", text, re.IGNORECASE):
        return "its container ran out of memory (hardware.memory_gib asks for more)"
    return f"its call ended: {text}; `modal app logs {app_id}` has its last words"


def _was_cancelled(call: modal.FunctionCall[Any], error: BaseException) -> bool:
    from modal import exception
    from modal.types import InputStatus

    try:
        roots = call.get_call_graph()
    except (exception.ConnectionError, exception.ServiceError, OSError):
        # Where Modal does not answer any more, nothing is known of the call.
        with in_words():
            raise
    except exception.Error:
        return False
    return (bool(roots) and roots[0].status == InputStatus.TERMINATED) or "cancel" in str(error).lower()


def app_is_running(app_id: str) -> bool:
    """Say whether an app has yet to stop: one whose starter died before it could note the call that it spawned."""
    import modal
    from modal.exception import NotFoundError

    with in_words():
        try:
            return modal.App.lookup(app_id).info().lifecycle.stopped_at is None
        except NotFoundError:
            return False
