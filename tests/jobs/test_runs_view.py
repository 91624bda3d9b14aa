"""Runs as a reader sees them: what the record says, held against whether anybody really works on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, get_args

import pytest

from conftest import wait_until
from jobs.standin import House
from ocrvl_modal import files, locks
from ocrvl_modal.backends.base import Pulse
from ocrvl_modal.backends.runs_view import (
    find_run,
    list_runs,
    load_evaluations,
    load_metrics,
    load_run,
    log_lines,
)
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.runs.record import ACTIVE, ErrorNote, RecordWriter, State

STATES: tuple[State, ...] = get_args(State)


@contextmanager
def worked_on(house: House, name: str = "a") -> Iterator[None]:
    """Hold the run's lock, as the process that works on it does."""
    lock = locks.acquire(house.layout(name).lock)
    assert lock is not None
    try:
        yield
    finally:
        os.close(lock)


def write(house: House, name: str = "a", **changes: Any) -> None:
    writer = RecordWriter(house.layout(name).record, house.record(name))
    writer.write(writer.record.model_copy(update=changes))


@pytest.fixture(autouse=True)
def submitted(house: House) -> None:
    house.submit("a")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("alive", [True, False])
def test_a_run_is_shown_as_what_it_truly_is(house: House, state: State, alive: bool) -> None:
    write(house, state=state)
    if alive:
        with worked_on(house):
            view = load_run(house.backend, "a")
        assert view.state == state
    else:
        view = load_run(house.backend, "a")
        assert view.state == ("interrupted" if state in ACTIVE else state)
        assert view.ended
    assert view.to_dict()["state"] == view.state
    assert view.to_dict()["alive"] == (alive and state in {*ACTIVE, "interrupted"})
    assert (view.reason == "") == (alive or state not in ACTIVE)


def test_a_run_that_ends_while_it_is_looked_at_is_shown_at_its_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(house, state="exporting")

    def ends_now(record: Any) -> Pulse:
        write(house, state="done")
        return Pulse(alive=False)

    monkeypatch.setattr(house.backend, "pulse", ends_now)
    assert load_run(house.backend, "a").state == "done"


def test_the_reason_is_the_error_else_what_ended_the_attempt(house: House) -> None:
    record = house.record("a")
    ended = record.attempts[0].model_copy(update={"reason": "it was cancelled"})
    write(house, state="cancelled", attempts=(ended,))
    assert load_run(house.backend, "a").reason == "it was cancelled"
    write(house, state="failed", error=ErrorNote(code="failed", message="it broke"))
    assert load_run(house.backend, "a").reason == "it broke"


def test_an_unknown_run_is_not_found_with_the_nearest_name(house: House) -> None:
    house.submit("invoices")
    assert find_run(house.backend, "invoces") is None
    with pytest.raises(OcrvlError, match="no run named 'invoces'") as caught:
        load_run(house.backend, "invoces")
    assert (caught.value.code, caught.value.hint) == (ExitCode.NOT_FOUND, "did you mean 'invoices'?")


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden"])
def test_a_name_that_cannot_be_one_is_refused(house: House, name: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        load_run(house.backend, name)
    assert caught.value.code == ExitCode.USAGE


def test_runs_are_listed_newest_first_and_a_damaged_one_is_told_apart(house: House) -> None:
    for age, name in ((2, "old"), (1, "new"), (3, "oldest")):
        house.submit(name)
        write(house, name, created_at=house.record("a").created_at - timedelta(hours=age))
    house.submit("broken")
    house.layout("broken").record.write_text("{")
    (house.places.outputs / "no-run").mkdir()
    views, errors = list_runs(house.backend)
    assert [view.record.name for view in views] == ["a", "new", "old", "oldest"]
    assert len(errors) == 1
    assert "/outputs/broken/run.json" in errors[0].message


def test_a_row_that_is_being_written_is_left_out(house: House) -> None:
    assert load_metrics(house.backend, "a") == load_evaluations(house.backend, "a") == []
    house.layout("a").metrics.write_text('{"step": 1}\n{"step": 2, "lo')
    house.layout("a").evaluations.write_text('{"step": 3}\n')
    assert load_metrics(house.backend, "a") == [{"step": 1}]
    assert load_evaluations(house.backend, "a") == [{"step": 3}]


class TestLogs:
    @pytest.fixture(autouse=True)
    def three_attempts(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second one never got as far as a log."""
        monkeypatch.setattr(type(house.backend), "poll_s", 0.01)
        first = house.record("a").attempts[0]
        attempts = tuple(first.model_copy(update={"number": number}) for number in (1, 2, 3))
        write(house, state="training", attempts=attempts)
        files.write_text(house.layout("a").attempt(1).log, "one\ngrüße\ncut of")
        files.write_text(house.layout("a").attempt(3).log, "three\n")

    def test_all_attempts_are_read_one_after_the_other(self, house: House) -> None:
        assert list(log_lines(house.backend, "a")) == ["one", "grüße", "cut of", "three"]

    @pytest.mark.parametrize(("attempt", "lines"), [(1, ["one", "grüße", "cut of"]), (2, []), (3, ["three"])])
    def test_one_attempt_is_read_alone(self, house: House, attempt: int, lines: list[str]) -> None:
        assert list(log_lines(house.backend, "a", attempt)) == lines

    def test_an_earlier_attempt_is_followed_no_further_than_its_end(self, house: House) -> None:
        with worked_on(house):
            assert list(log_lines(house.backend, "a", 1, follow=True)) == ["one", "grüße", "cut of"]

    def test_following_goes_on_into_the_next_attempt_and_ends_with_the_run(self, house: House) -> None:
        read: list[str] = []
        log = house.layout("a").attempt(3).log

        def follow() -> None:
            for line in log_lines(house.backend, "a", follow=True):
                read.append(line)

        with worked_on(house):
            follower = threading.Thread(target=follow)
            follower.start()
            wait_until(lambda: read[-1:] == ["three"], "the lines so far")
            with log.open("ab") as stream:
                stream.write(b"fo")
                stream.flush()
                stream.write(b"ur\nsch\xc3")
                stream.flush()
                wait_until(lambda: read[-1:] == ["four"], "a line that came in two parts")
                stream.write(b"\xb6n\n")
            wait_until(lambda: read[-1:] == ["schön"], "a character that came in two parts")
            attempts = house.record("a").attempts
            write(house, attempts=(*attempts, attempts[0].model_copy(update={"number": 4})))
            files.write_text(house.layout("a").attempt(4).log, "five\nsix")
            wait_until(lambda: read[-1:] == ["five"], "the next attempt")
            write(house, state="done")
        follower.join(20)
        assert not follower.is_alive()
        assert read == ["one", "grüße", "cut of", "three", "four", "schön", "five", "six"]

    def test_a_run_that_dies_ends_those_who_follow_it(self, house: House) -> None:
        assert list(log_lines(house.backend, "a", follow=True))[-1] == "three"

    def test_bytes_that_are_no_text_do_not_end_the_log(self, house: House) -> None:
        house.layout("a").attempt(3).log.write_bytes(b"a\xffb\nc\n")
        assert list(log_lines(house.backend, "a", 3)) == ["a\ufffdb", "c"]
