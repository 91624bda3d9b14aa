"""A plan, a run and the quickstart's end, as a person reads them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from rich.console import RenderableType

from jobs.standin import House
from ocrvl_modal.backends.base import Pulse
from ocrvl_modal.backends.runs_view import RunView, load_metrics, load_run
from ocrvl_modal.output import stdout_console
from ocrvl_modal.report.quickstart_summary import TourReport, summary
from ocrvl_modal.report.run_report import (
    STATE_STYLES,
    attempts_table,
    loss_curve,
    loss_line,
    plan_table,
    run_facts,
    runs_table,
)
from ocrvl_modal.runs.record import Cost, ErrorNote

Show = Callable[[RenderableType], str]
TRICKY = "[/nothing] [red]x :smile:"


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Return what prints as a command does, and gives back what was printed."""

    def show(item: RenderableType) -> str:
        capsys.readouterr()
        stdout_console().print(item)
        return capsys.readouterr().out

    return show


def rows_of(table: str) -> list[str]:
    """The lines of a printed table under its header."""
    lines = [line for line in table.splitlines() if line.strip()]
    return lines[next(index for index, line in enumerate(lines) if "───" in line) + 1 :]


def changed(view: RunView, alive: bool = False, **changes: Any) -> RunView:
    return RunView(view.record.model_copy(update=changes), Pulse(alive))


@pytest.fixture
def view(house: House) -> RunView:
    """A run that was killed, went on, and is done."""
    house.train("a", die_at=3)
    house.train("a")
    return load_run(house.backend, "a")


def test_a_plan_says_what_will_happen_and_what_it_costs(house: House, show: Show) -> None:
    plan = house.plan("a", house.recipe("limits.timeout_hours=2", "limits.max_cost_usd=5"))
    said = show(plan_table(plan))
    assert "nothing: it runs on your own machine" in said
    assert "2 h or $5" in said
    assert "tiny, full, by transformers" in said
    rented = plan.model_copy(update={"price_usd_per_hour": Decimal("1.95"), "timeout_hours": None, "most_usd": None})
    assert "$1.95/h" in show(plan_table(rented))
    assert ["limits", "none"] in [line.split() for line in show(plan_table(rented)).splitlines()]


def test_a_run_is_told_with_all_that_its_record_says(view: RunView, show: Show) -> None:
    said = show(run_facts(changed(view, tags=("x", "y"), note="hello", eval_loss=0.5, resumed_from="/outputs/b")))
    for words in ("done", "6 of 6", "0.1667", "0.5000", "x, y", "hello", "/outputs/b", "began at"):
        assert words in said
    assert "reason" not in said


def test_what_somebody_wrote_is_shown_as_it_was_written(view: RunView, show: Show) -> None:
    """It may look like markup, and must neither vanish nor break the table."""
    tricky = changed(
        view,
        note=TRICKY,
        tags=(TRICKY,),
        dataset=f"/data/{TRICKY}",
        model=f"/models/{TRICKY}",
        state="failed",
        error=ErrorNote(code="failed", message=TRICKY),
        attempts=(view.record.attempts[0].model_copy(update={"reason": TRICKY}),),
    )
    assert show(run_facts(tricky)).count(TRICKY) == 5
    assert TRICKY in show(attempts_table(tricky))
    assert TRICKY in show(runs_table([tricky]))


def test_attempts_are_told_one_by_one(view: RunView, show: Show) -> None:
    first, second = rows_of(show(attempts_table(view)))
    assert "interrupted" in first
    assert "killed by signal 9" in first
    assert first.split()[0] == "1"
    assert second.split()[0] == "2"
    assert second.rstrip().endswith("done")


@pytest.mark.parametrize("alive", [True, False])
def test_an_attempt_that_never_said_its_end_is_shown_by_whether_it_lives(
    view: RunView, show: Show, alive: bool
) -> None:
    running = view.record.attempts[1].model_copy(update={"ended_at": None, "ended_as": None})
    (row,) = rows_of(show(attempts_table(changed(view, alive, state="training", attempts=(running,)))))
    assert ("its process is gone" in row) != alive
    assert ("interrupted" in row) != alive


def test_runs_are_listed_one_a_line(view: RunView, show: Show) -> None:
    other = changed(view, name="x" * 63, loss=None, state="training", cost=Cost(seconds=185))
    lines = rows_of(show(runs_table([view, other])))
    assert lines[0].split()[:3] == ["a", "done", "6/6"]
    assert "x" * 63 in lines[1]
    assert "interrupted" in lines[1]
    assert "3 min 05 s" in lines[1]


def test_every_state_has_its_colour(view: RunView) -> None:
    from typing import get_args

    from ocrvl_modal.runs.record import State

    assert set(STATE_STYLES) == set(get_args(State))


def test_the_loss_is_drawn_with_its_bounds_and_its_steps(house: House, view: RunView, show: Show) -> None:
    said = show(loss_curve(load_metrics(house.backend, "a")))
    assert "1.000" in said
    assert "0.167" in said
    assert "step 1 to 6" in said
    assert loss_line(load_metrics(house.backend, "a"))[0] == "█"


def test_a_loss_that_is_no_number_does_not_hide_the_others(show: Show) -> None:
    rows = [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 2.0}, {"step": 3, "loss": 1.0}]
    said = show(loss_curve(rows))
    assert "2.000" in said
    assert "1.000" in said
    assert "nan" not in said
    assert show(loss_curve([{"step": 1, "loss": float("inf")}])).strip() == ""
    assert show(loss_curve([])).strip() == ""


@pytest.mark.parametrize("home", ["", "/tmp/try"])
def test_the_quickstart_ends_with_scores_files_and_the_way_on(
    house: House, view: RunView, show: Show, home: str
) -> None:
    report = TourReport(
        home=house.home,
        run=view,
        plan=house.plan("a", house.recipe()),
        killed_at_step=3,
        resumed_from_step=2,
        readings=(
            {"image": "/x/1.png", "target": "123", "read": "123"},
            {"image": "2.png", "target": "45", "read": ""},
        ),
        scores={
            "base": {"cer": 0.95, "ned": 0.96, "exact_match": 0.0},
            "tuned": {"cer": 0.01, "ned": 0.02, "exact_match": 0.98},
        },
        samples=64,
        seconds=(timedelta(minutes=1, seconds=30)).total_seconds(),
    )
    said = "".join(show(item) for item in summary(report, load_metrics(house.backend, "a"), home=home))
    for words in ("0.9500", "0.0100", "98%", "64 held-out images", "toy", "should be 45", "(nothing)"):
        assert words in said
    assert "Killed with SIGKILL at step 3, went on from checkpoint 2, done at step 6." in said
    assert f"{f'OCRVL_HOME={home} ' if home else ''}ocrvl runs show a" in said
    assert "ocrvl train --data ./mine/train.jsonl" in said
    told = report.to_dict()
    assert told["scores"]["base"]["cer"] == 0.95
    for path in told["files"].values():
        assert path in said
