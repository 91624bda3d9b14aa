"""Signals that wait for a safe moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from ocrvl_modal.errors import RunCancelled
from ocrvl_modal.jobs.held_signals import held_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """SIGTERM cancels in this test, as in a worker; every handler is put back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def cancel(*_: object) -> None:
        raise RunCancelled

    signal.signal(signal.SIGTERM, cancel)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, RunCancelled)])
def test_a_signal_raises_what_it_means_at_the_safe_moment_and_not_before(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    done = []
    with pytest.raises(raised), held_signals() as let_through:
        os.kill(os.getpid(), number)
        done.append("the step that must be whole")
        let_through()
        done.append("never")
    assert done == ["the step that must be whole"]


def test_a_signal_that_waits_when_the_block_ends_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), held_signals():
        os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with held_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with held_signals() as let_through:
        os.kill(os.getpid(), signal.SIGUSR1)
        let_through()


def test_nothing_is_held_outside_of_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def inside() -> None:
        with held_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]
