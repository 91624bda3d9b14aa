"""Starting a run, or going on with one: what is written down before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobs.standin import House, learned_after
from ocrvl_modal import locks
from ocrvl_modal.backends.base import RunSlot
from ocrvl_modal.backends.runs_view import load_recipe, load_run
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.recipes import TrainRecipe
from ocrvl_modal.runs.record import ACTIVE, RecordWriter, State, close_dead_attempt, now


class Ready:
    """A slot that needs no app."""

    def prepare(self, recipe: TrainRecipe, member: FamilyMember, say: Callable[[str], None]) -> str:
        return ""


def test_a_new_run_has_its_recipe_plan_and_record_before_its_job_starts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[State, bool, bool]] = []

    class Looking(Ready):
        def spawn(self, request: dict[str, Any], attempt: int) -> str:
            layout = house.layout("a")
            seen.append((house.record("a").state, layout.recipe.is_file(), layout.plan.is_file()))
            assert locks.is_held(layout.lock)
            assert request == {"name": "a", "resume_from": None, "start_id": house.record("a").start_id}
            assert attempt == 1
            return ""

    @contextmanager
    def reserve(name: str) -> Iterator[RunSlot]:
        with super(type(house.backend), house.backend).reserve(name):
            yield Looking()

    monkeypatch.setattr(house.backend, "reserve", reserve)
    record = house.submit("a", "tracking.note=hello", "tracking.tags=[x, y]")
    assert seen == [("submitted", True, True)]
    assert record == house.record("a")
    assert (record.model, record.method, record.engine, record.max_steps) == ("tiny", "full", "transformers", 6)
    assert (record.note, record.tags, record.dataset) == ("hello", ("x", "y"), str(house.data))
    assert load_recipe(house.backend, "a") == house.recipe("tracking.note=hello", "tracking.tags=[x, y]")
    assert not locks.is_held(house.layout("a").lock)


def test_a_run_that_somebody_works_on_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with house.backend.reserve("a"), pytest.raises(OcrvlError, match="another process works on run 'a'") as caught:
        house.submit("a")
    assert caught.value.code == ExitCode.USAGE
    assert house.backend.requests == []


def test_going_on_adds_an_attempt_and_keeps_what_was(house: House) -> None:
    first = house.train("a", die_at=3)
    second = house.submit("a", "tracking.note=again", "limits.timeout_hours=3")
    assert (second.state, second.created_at, second.step) == ("submitted", first.created_at, 3)
    assert second.note == "again"
    assert [attempt.number for attempt in second.attempts] == [1, 2]
    assert second.attempts[0] == first.attempts[0]
    assert load_recipe(house.backend, "a").limits.timeout_hours == 3


def test_a_done_run_stays_as_it_is(house: House) -> None:
    house.train("a")
    before = house.layout("a").record.read_bytes()
    assert house.submit("a").state == "done"
    assert house.layout("a").record.read_bytes() == before
    assert house.backend.requests == []


@pytest.mark.parametrize("done", [False, True])
def test_another_recipe_under_the_name_is_refused_key_by_key(house: House, done: bool) -> None:
    house.train("a", **({} if done else {"die_at": 3}))
    before = house.record("a")
    with pytest.raises(OcrvlError) as caught:
        house.submit("a", "optimizer.learning_rate=0.5", "seed=7", "tracking.note=fine")
    assert caught.value.code == ExitCode.USAGE
    assert "optimizer.learning_rate: " in caught.value.message
    assert "seed: 23 → 7" in caught.value.message
    assert "tracking" not in caught.value.message
    assert house.record("a") == before
    assert load_recipe(house.backend, "a") == house.recipe()


@pytest.mark.parametrize("done", [False, True])
def test_a_dataset_that_changed_is_refused(house: House, done: bool) -> None:
    house.train("a", **({} if done else {"die_at": 3}))
    before = house.record("a")
    house.data.write_text(house.data.read_text() * 2)
    with pytest.raises(OcrvlError, match="not what it was when run 'a' began") as caught:
        house.submit("a")
    assert caught.value.code == ExitCode.DATA_INVALID
    assert house.record("a") == before


@pytest.mark.parametrize("state", sorted(ACTIVE))
def test_an_attempt_whose_process_died_is_closed_as_interrupted(house: House, state: State) -> None:
    house.submit("a")
    writer = RecordWriter(house.layout("a").record, house.record("a"))
    writer.write(writer.record.model_copy(update={"state": state, "heartbeat_at": now(), "step": 2}))
    shown = load_run(house.backend, "a")
    assert (shown.state, shown.reason) == ("interrupted", f"its process is gone (it was {state})")
    record = house.submit("a")
    first, second = record.attempts
    assert (first.ended_as, first.reason) == ("interrupted", f"its process died while {state}")
    assert first.ended_at == writer.record.heartbeat_at
    assert (second.ended_at, record.state) == (None, "submitted")


def test_an_attempt_that_ended_by_itself_is_not_closed_again(house: House) -> None:
    record = house.train("a", die_at=3)
    assert close_dead_attempt(record) is record


def test_a_job_that_cannot_be_started_leaves_a_failed_run_that_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(Ready):
        def spawn(self, request: dict[str, Any], attempt: int) -> str:
            raise OSError(11, "Resource temporarily unavailable")

    @contextmanager
    def reserve(name: str) -> Iterator[RunSlot]:
        yield Refusing()

    with monkeypatch.context() as patch, pytest.raises(OSError, match="unavailable"):
        patch.setattr(house.backend, "reserve", reserve)
        house.submit("a")
    record = house.record("a")
    assert record.state == "failed"
    assert record.error is not None
    assert "Resource temporarily unavailable" in record.error.message
    assert (record.attempts[0].ended_as, record.attempts[0].reason) == ("failed", record.error.message)
    assert record.attempts[0].ended_at is not None
    assert house.train("a").state == "done"
    assert [attempt.ended_as for attempt in house.record("a").attempts] == ["failed", "done"]


def test_a_submission_that_was_cut_off_before_its_record_is_no_run_and_starts_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = house.backend.stores.write_bytes

    def full(place: str, data: bytes) -> None:
        if place.endswith("run.json"):
            raise OSError(28, "No space left on device")
        write(place, data)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(house.backend.stores, "write_bytes", full)
        house.submit("a")
    with pytest.raises(OcrvlError, match="there is no run named 'a'"):
        load_run(house.backend, "a")
    assert house.train("a", "seed=7").state == "done"


class TestBeginningAtACheckpointOfAnotherRun:
    ORIGIN = "/outputs/a/checkpoints/checkpoint-2"

    @pytest.fixture(autouse=True)
    def other(self, house: House) -> None:
        house.train("a")

    def test_the_same_command_again_goes_on_from_the_runs_own(self, house: House) -> None:
        house.train("b", resume_from=self.ORIGIN, die_at=5)
        record = house.train("b", resume_from=self.ORIGIN)
        assert [attempt.resumed_from_step for attempt in record.attempts] == [2, 4]
        assert house.learned("b") == learned_after(6)
        assert house.submit("b", resume_from=self.ORIGIN) == record

    def test_a_run_that_began_elsewhere_is_refused(self, house: House) -> None:
        before = house.train("b", die_at=5)
        with pytest.raises(OcrvlError, match="run 'b' began by itself") as caught:
            house.submit("b", resume_from=self.ORIGIN)
        assert caught.value.code == ExitCode.USAGE
        assert "--name" in caught.value.hint
        assert house.record("b") == before

    def test_a_run_that_began_at_yet_another_is_refused(self, house: House) -> None:
        house.train("b", resume_from=self.ORIGIN, die_at=5)
        with pytest.raises(OcrvlError, match="checkpoint-2"):
            house.submit("b", resume_from="/outputs/a/checkpoints/checkpoint-4")

    def test_going_back_to_a_checkpoint_of_its_own_is_another_matter(self, house: House) -> None:
        house.train("b", resume_from=self.ORIGIN)
        record = house.train("b", resume_from="/outputs/b/checkpoints/checkpoint-4")
        assert record.attempts[1].resumed_from_step == 4
