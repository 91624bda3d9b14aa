"""A training job on a host that starts it again by itself, as Modal does."""

from __future__ import annotations

import os
from typing import Any

import pytest

from jobs.standin import House, learned_after
from ocrvl_modal.errors import OcrvlError, RunCancelled
from ocrvl_modal.jobs import train
from ocrvl_modal.jobs.host import Host, HostTimeIsUp
from ocrvl_modal.runs.record import RecordWriter


class Cancelled(BaseException):
    """What a host of this test ends a job with."""


class Cloud:
    """Hosts one call: counts commits, and starts the call again when it is asked to."""

    def __init__(self, house: House, **options: Any) -> None:
        self.house = house
        self.committed: list[str] = []
        self.host = Host(
            call_id="fc-1",
            commit=lambda: self.committed.append(house.record("a").state),
            cancellations=(Cancelled,),
            restarts=True,
            **options,
        )

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        return train.run(request, self.host)


def submitted(house: House, *sets: str, **engine: Any) -> dict[str, Any]:
    house.engine.options = engine
    house.submit("a", *sets)
    return house.backend.requests.pop()


def raising(error: BaseException) -> Any:
    def stage(*_: Any, **__: Any) -> Any:
        raise error

    return stage


def test_every_change_of_state_and_every_checkpoint_is_committed(house: House) -> None:
    cloud = Cloud(house)
    assert cloud.call(submitted(house))["state"] == "done"
    assert cloud.committed[0] == "preparing"
    assert cloud.committed[-2:] == ["exporting", "done"]
    checkpoints = house.record("a").max_steps // house.recipe().checkpoint.save_steps
    assert cloud.committed.count("training") >= 1 + checkpoints


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled()])
def test_what_stopped_the_job_is_raised_again_once_the_record_says_it(
    house: House, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    cloud = Cloud(house)
    request = submitted(house)
    monkeypatch.setattr(train._Attempt, "find_model", raising(error))
    with pytest.raises(type(error)):
        cloud.call(request)
    expected = "interrupted" if isinstance(error, KeyboardInterrupt) else "cancelled"
    assert house.record("a").state == expected
    assert cloud.committed[-1] == expected


def test_an_interrupted_call_that_is_started_again_opens_an_attempt_and_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Cloud(house)
    request = submitted(house)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train._Attempt, "export", raising(KeyboardInterrupt()))
        cloud.call(request)
    assert cloud.call(request)["state"] == "done"
    first, second = house.record("a").attempts
    assert (first.ended_as, second.ended_as) == ("interrupted", "done")
    assert second.resumed_from_step == house.record("a").max_steps


def test_a_call_whose_container_vanished_goes_on_from_the_last_checkpoint(house: House) -> None:
    cloud = Cloud(house)
    request = submitted(house, die_at=5)
    cloud.call(request)
    writer = RecordWriter(house.layout("a").record, house.record("a"))
    *before, last = writer.record.attempts
    vanished = last.model_copy(update={"ended_at": None, "ended_as": None, "reason": ""})
    writer.write(writer.record.model_copy(update={"state": "training", "attempts": (*before, vanished)}))
    house.engine.options = {}
    assert cloud.call(request)["state"] == "done"
    first, second = house.record("a").attempts
    assert first.reason == "its process died while training"
    assert second.resumed_from_step == 4
    assert house.learned("a") == learned_after(house.record("a").max_steps)


def test_a_run_that_dies_three_times_at_one_place_is_given_up(house: House) -> None:
    cloud = Cloud(house)
    request = submitted(house, die_at=1)
    for _ in range(3):
        cloud.call(request)
        writer = RecordWriter(house.layout("a").record, house.record("a"))
        *before, last = writer.record.attempts
        died = last.model_copy(update={"ended_at": None, "ended_as": None, "reason": ""})
        writer.write(writer.record.model_copy(update={"state": "training", "attempts": (*before, died)}))
    assert cloud.call(request)["state"] == "failed"
    error = house.record("a").error
    assert error is not None
    assert "3 attempts in a row died" in error.message


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_a_call_that_comes_again_after_the_end_touches_nothing(house: House, state: Any) -> None:
    cloud = Cloud(house)
    request = submitted(house)
    writer = RecordWriter(house.layout("a").record, house.record("a"))
    writer.write(writer.record.model_copy(update={"state": state}))
    before = house.layout("a").record.read_bytes()
    assert cloud.call(request) == {"state": state, "step": 0}
    assert house.layout("a").record.read_bytes() == before


def test_a_call_of_an_earlier_start_leaves_the_later_one_alone(house: House) -> None:
    cloud = Cloud(house)
    old = submitted(house)
    new = submitted(house)
    before = house.layout("a").record.read_bytes()
    cloud.call(old)
    assert house.layout("a").record.read_bytes() == before
    assert cloud.call(new)["state"] == "done"


def test_a_checkpoint_that_was_asked_for_counts_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.train("a", end_at=5)
    saved = sorted(int(path.name.split("-")[1]) for path in house.layout("a").checkpoints.iterdir())
    house.engine.options = {}
    house.submit("a", resume_from=f"/outputs/a/checkpoints/checkpoint-{saved[0]}")
    request = house.backend.requests.pop()
    cloud = Cloud(house)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train._Attempt, "export", raising(KeyboardInterrupt()))
        cloud.call(request)
    assert cloud.call(request)["state"] == "done"
    assert [attempt.resumed_from_step for attempt in house.record("a").attempts][1:] == [
        saved[0],
        house.record("a").max_steps,
    ]


def test_a_host_that_was_given_the_secrets_hands_them_on_but_never_its_own(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_given_by_name")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-never")
    seen: dict[str, str] = {}
    start = train.EngineProcess

    def watching(command: Any, environment: Any, *more: Any) -> Any:
        seen.update(environment)
        return start(command, environment, *more)

    monkeypatch.setattr(train, "EngineProcess", watching)
    cloud = Cloud(house, gives_secrets=True)
    cloud.call(submitted(house, "secrets=[huggingface]"))
    assert seen["HF_TOKEN"] == "hf_given_by_name"
    assert "MODAL_TOKEN_SECRET" not in seen


def test_a_run_that_needs_longer_than_its_host_gives_saves_in_time_and_is_started_again(house: House) -> None:
    cloud = Cloud(house, longest_s=0.5)
    request = submitted(house, hang_at=3)
    with pytest.raises(HostTimeIsUp):
        cloud.call(request)
    record = house.record("a")
    assert (record.state, record.step) == ("interrupted", 3)
    house.engine.options = {}
    assert cloud.call(request)["state"] == "done"
    assert house.record("a").attempts[1].resumed_from_step == 3


def test_a_job_that_is_its_own_host_does_not_raise_what_stopped_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = submitted(house)
    monkeypatch.setattr(train._Attempt, "find_model", raising(RunCancelled()))
    assert train.run(request)["state"] == "cancelled"
    assert Host.this_process().call_id == str(os.getpid())
    assert house.record("a").attempts[0].call_id == str(os.getpid())


def test_locks_lie_on_the_hosts_own_disk_where_it_has_one(house: House) -> None:
    own = house.places.scratch / "own"
    cloud = Cloud(house, own_disk=own)
    assert cloud.call(submitted(house))["state"] == "done"
    assert (own / "a" / house.layout("a").engine_lock.name).exists()
    assert not house.layout("a").engine_lock.exists()


def test_an_error_of_the_user_is_an_answer_and_not_a_reason_to_try_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = submitted(house)
    monkeypatch.setattr(train._Attempt, "find_model", raising(OcrvlError("no such model")))
    assert Cloud(house).call(request)["state"] == "failed"
