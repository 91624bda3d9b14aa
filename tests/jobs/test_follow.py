"""Following a run to its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.standin import House
from ocrvl_modal import locks
from ocrvl_modal.backends.runs_view import RunView
from ocrvl_modal.errors import OcrvlError, Unreachable
from ocrvl_modal.output import Output
from ocrvl_modal.report import follow as following
from ocrvl_modal.report.follow import follow
from ocrvl_modal.runs.record import RecordWriter

STORY: list[dict[str, Any]] = [
    {"state": "preparing"},
    {"state": "training"},
    {"state": "training", "step": 1, "loss": 0.9},
    {"state": "training", "step": 2, "loss": 0.8},
    {"state": "exporting", "step": 6, "loss": 0.5},
    {"state": "done", "step": 6, "loss": 0.5},
]


@pytest.fixture
def told(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A run whose record goes one chapter further each time that the follower waits."""
    house.submit("a")
    lock = locks.acquire(house.layout("a").lock)
    assert lock is not None
    writer = RecordWriter(house.layout("a").record, house.record("a"))
    chapters: list[int] = []

    class Clock:
        @staticmethod
        def sleep(_: float) -> None:
            writer.write(writer.record.model_copy(update=STORY[len(chapters)]))
            chapters.append(len(chapters))

        @staticmethod
        def monotonic() -> float:
            return float(len(chapters)) * 3

    monkeypatch.setattr(following, "time", Clock)
    yield chapters
    os.close(lock)


def an_output(mode: str) -> Output:
    return Output.of("train", json=mode == "json", quiet=mode == "quiet")


def test_it_says_each_change_of_state_and_now_and_then_a_step(
    house: House, told: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    view = follow(house.backend, "a", an_output("human"))
    assert (view.state, view.ended) == ("done", True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "a: submitted, step 0/6",
        "a: preparing, step 0/6",
        "a: training, step 0/6",
        "a: training, step 2/6, loss 0.8000",
        "a: exporting, step 6/6, loss 0.5000",
        "a: done, step 6/6, loss 0.5000",
    ]


@pytest.mark.parametrize("mode", ["json", "quiet"])
def test_it_says_nothing_where_nothing_is_wanted(
    house: House, told: list[int], capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    assert follow(house.backend, "a", an_output(mode)).state == "done"
    assert capsys.readouterr() == ("", "")


def test_it_stops_where_it_is_asked_to(house: House, told: list[int]) -> None:
    view = follow(house.backend, "a", an_output("quiet"), until=lambda view: view.record.step >= 1)
    assert (view.record.step, view.state) == (1, "training")


def test_a_run_whose_process_dies_is_not_followed_for_ever(house: House) -> None:
    house.submit("a")
    assert follow(house.backend, "a", an_output("quiet")).state == "interrupted"


def test_on_a_terminal_it_shows_state_steps_and_loss(
    house: House, told: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Drawn on a console that keeps what it is given."""
    from rich.console import Console

    shown = (tmp_path / "shown.txt").open("w+")
    console = Console(file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(following, "stderr_console", lambda: console)
    monkeypatch.setattr(Output, "live", True)
    house.layout("a").metrics.write_text('{"step": 1, "loss": 0.9}\n')
    views: list[RunView] = []

    def until(view: RunView) -> bool:
        views.append(view)
        return view.ended

    assert follow(house.backend, "a", an_output("human"), until=until).state == "done"
    assert len(views) == len(STORY) + 1
    shown.seek(0)
    said = shown.read()
    shown.close()
    assert "done" in said
    assert "6/6" in said
    assert "loss" in said


def test_a_server_that_does_not_answer_for_a_while_is_waited_for(
    house: House, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, looks = following.load_run, []

    def now_and_then(*asked: Any) -> RunView:
        looks.append(asked)
        if len(looks) == 2:
            raise Unreachable("nobody is there")
        return answers(*asked)

    monkeypatch.setattr(following, "load_run", now_and_then)
    assert follow(house.backend, "a", an_output("quiet")).state == "done"


def test_one_that_stays_away_ends_the_following_and_says_that_the_run_goes_on(
    house: House, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any) -> RunView:
        raise Unreachable("nobody is there")

    monkeypatch.setattr(following, "load_run", nobody)
    monkeypatch.setattr(following, "PATIENCE_S", 6)
    with pytest.raises(OcrvlError, match="goes on by itself") as caught:
        follow(house.backend, "a", an_output("quiet"))
    assert caught.value.hint == "ocrvl runs wait a"
