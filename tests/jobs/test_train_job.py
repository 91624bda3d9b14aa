"""The training job: whatever ends an attempt, the record tells the truth and the next start goes on from it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import wait_until
from jobs.standin import STEPS, House, StandInEngine, learned_after
from ocrvl_modal import files, locks
from ocrvl_modal.engines.prompt_identity import check_prompt_identity
from ocrvl_modal.errors import OcrvlError, RunCancelled
from ocrvl_modal.jobs import supervision, train
from ocrvl_modal.models import FAMILY_FILE
from ocrvl_modal.runs import checkpoints
from ocrvl_modal.runs.metrics import read_rows
from ocrvl_modal.runs.record import RecordWriter, RunRecord, State

ALL_STEPS = list(range(1, STEPS + 1))


def assert_done(house: House, name: str = "a") -> None:
    """The run has ended as if nobody had ever disturbed it."""
    record = house.record(name)
    assert (record.state, record.step, record.error) == ("done", STEPS, None)
    assert house.steps(name) == ALL_STEPS
    assert [row["step"] for row in read_rows(house.layout(name).evaluations)] == [3, 6]
    assert house.learned(name) == learned_after(STEPS)


def assert_at_rest(house: House, name: str = "a") -> None:
    """Nothing runs, nothing is half-written, and the newest attempt says how it ended."""
    layout, record = house.layout(name), house.record(name)
    assert not locks.is_held(layout.engine_lock)
    assert not layout.reserve.exists()
    assert [path.name for folder in (layout.root, layout.checkpoints) for path in folder.glob(".*.tmp")] == []
    assert record.attempt is not None
    assert record.attempt.ended_at is not None
    assert record.attempt.ended_as == record.state
    assert record.cost.seconds > 0


def complete_steps(house: House, name: str = "a") -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.complete_checkpoints(house.layout(name))]


def while_training(house: House, act: Callable[[], None], name: str = "a") -> threading.Thread:
    """Call ``act`` as soon as the run's engine hangs."""

    def wait_and_act() -> None:
        log = house.layout(name).attempt(len(house.record(name).attempts)).log
        wait_until(lambda: log.is_file() and "hanging" in log.read_text(), "the engine to hang")
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def engine_group(house: House, name: str = "a") -> int:
    return int(house.layout(name).engine_group.read_text())


class Clock:
    """Stands in for the module ``time``: real, but hours can go by."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def go_on(self, seconds: float) -> None:
        self._ahead += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead


def raise_in_here(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture
def signals_raise() -> Any:
    """As in the worker: SIGINT and SIGTERM raise in the main thread."""

    def cancel(*_: object) -> None:
        raise RunCancelled

    before = signal.signal(signal.SIGTERM, cancel)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_run_trains_exports_and_is_done(house: House) -> None:
    record = house.train("a")
    assert_done(house)
    assert_at_rest(house)
    assert complete_steps(house) == [2, 4, 6]
    assert record.attempts[0].resumed_from_step is None
    assert record.attempts[0].call_id == str(os.getpid())
    assert record.loss == pytest.approx(1 / STEPS)


def test_the_states_follow_each_other_as_the_design_draws_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[State] = []
    write = RecordWriter.write

    def writing(writer: RecordWriter, record: RunRecord) -> RunRecord:
        if record.state not in states:
            states.append(record.state)
        return write(writer, record)

    monkeypatch.setattr(RecordWriter, "write", writing)
    house.train("a")
    assert states == ["preparing", "training", "exporting", "done"]


def test_a_done_record_never_appears_before_the_export_is_there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RecordWriter.write

    def writing(writer: RecordWriter, record: RunRecord) -> RunRecord:
        ended = [attempt.ended_as for attempt in record.attempts]
        assert record.state == "done" or "done" not in ended
        assert record.state != "done" or house.layout("a").export.is_dir()
        return write(writer, record)

    monkeypatch.setattr(RecordWriter, "write", writing)
    house.train("a")
    assert house.record("a").state == "done"


def test_an_engine_that_fails_fails_the_run_with_its_own_words(house: House) -> None:
    words = "error: " + json.dumps({"code": "data_invalid", "message": "row 3 is bad", "hint": "mend it"})
    record = house.train("a", fail_at=3, words=words)
    assert record.state == "failed"
    assert record.error is not None
    assert (record.error.code, record.error.message, record.error.hint) == ("data_invalid", "row 3 is bad", "mend it")
    assert record.attempts[0].reason == "row 3 is bad"
    assert record.step == 3
    assert_at_rest(house)


def test_a_failed_run_goes_on_and_forgets_its_error(house: House) -> None:
    house.train("a", fail_at=3, words="it broke")
    record = house.train("a")
    assert [attempt.resumed_from_step for attempt in record.attempts] == [None, 2]
    assert [attempt.ended_as for attempt in record.attempts] == ["failed", "done"]
    assert_done(house)
    assert {row["attempt"] for row in house.metrics("a")} == {1, 2}


def test_a_killed_engine_interrupts_the_run(house: House) -> None:
    record = house.train("a", die_at=3)
    assert (record.state, record.error) == ("interrupted", None)
    assert record.attempts[0].reason == "the engine was killed by signal 9"
    assert_at_rest(house)
    house.train("a")
    assert_done(house)


def test_an_engine_that_was_stopped_by_somebody_else_interrupts_the_run(house: House) -> None:
    house.engine.options = {"hang_at": 3}
    house.submit("a")
    stopper = while_training(house, lambda: os.kill(engine_group(house), signal.SIGTERM))
    house.work()
    stopper.join()
    record = house.record("a")
    assert (record.state, record.error, record.step) == ("interrupted", None, 3)
    assert "stop" in record.attempts[0].reason
    assert complete_steps(house) == [2, 3]
    house.train("a")
    assert_done(house)


def test_an_engine_that_ends_well_but_too_early_fails_the_run(house: House) -> None:
    record = house.train("a", end_at=5)
    assert record.error is not None
    assert record.error.message == "the engine ended well, but its last checkpoint is at step 4 of 6"
    assert_at_rest(house)


def test_an_engine_that_ends_badly_after_its_last_checkpoint_has_trained_all_the_same(house: House) -> None:
    house.train("a", fail_at=STEPS, words="it fell over its own feet")
    assert "fell over" in house.layout("a").attempt(1).log.read_text()
    assert_done(house)


@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "cancelled")], ids=["Ctrl-C", "cancel"]
)
def test_a_signal_has_the_engine_save_and_the_run_goes_on_there(
    house: House, signals_raise: None, number: int, state: str
) -> None:
    house.engine.options = {"hang_at": 3}
    house.submit("a")
    stopper = while_training(house, raise_in_here(number))
    house.work()
    stopper.join()
    record = house.record("a")
    assert (record.state, record.step, record.error) == (state, 3, None)
    assert complete_steps(house) == [2, 3]
    assert_at_rest(house)
    assert house.train("a").attempts[1].resumed_from_step == 3
    assert_done(house)


@pytest.mark.parametrize("end", [KeyboardInterrupt, RunCancelled])
@pytest.mark.parametrize("where", ["find_model", "go_back_to_start", "_engine_job", "export"])
def test_a_signal_at_any_stage_is_recorded_and_the_next_start_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, end: type[BaseException], where: str
) -> None:
    def interrupted(*_: Any) -> None:
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(train._Attempt, where, interrupted)
        record = house.train("a")
    assert record.state == ("interrupted" if end is KeyboardInterrupt else "cancelled")
    assert_at_rest(house)
    house.train("a")
    assert_done(house)


@pytest.mark.parametrize("end", [KeyboardInterrupt, RunCancelled])
def test_a_signal_that_comes_after_the_end_changes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    finish = train._Attempt.end

    def late(attempt: Any, state: State, *arguments: Any) -> None:
        finish(attempt, state, *arguments)
        if state == "done":
            raise end

    monkeypatch.setattr(train._Attempt, "end", late)
    house.train("a")
    assert_done(house)
    assert_at_rest(house)


def test_a_fault_of_ours_is_recorded_and_raised(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise LookupError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(train, "export_model", broken)
        with pytest.raises(LookupError):
            house.train("a")
    record = house.record("a")
    assert record.state == "failed"
    assert record.error is not None
    assert record.error.message == "LookupError: no such thing"
    assert "report" in record.error.hint
    assert_at_rest(house)
    house.train("a")
    assert_done(house)


def test_a_fault_while_watching_leaves_no_engine_running(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise LookupError("no such thing")

    monkeypatch.setattr(StandInEngine, "read_line", broken)
    with pytest.raises(LookupError):
        house.train("a", hang_at=0)
    assert house.record("a").state == "failed"
    assert_at_rest(house)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "/outputs/x"), "the disk is full (/outputs/x)"),
        (PermissionError(13, "Permission denied", "/outputs/x"), "Permission denied (/outputs/x)"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_way_to_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    def refusing(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(train, "export_model", refusing)
        record = house.train("a")
    assert record.error is not None
    assert record.error.message == message
    assert "ocrvl train --name a" in record.error.hint
    assert_at_rest(house)
    house.train("a")
    assert_done(house)


def test_a_disk_without_room_stops_the_run_before_the_engine_starts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda _: 1 << 20)
    record = house.train("a")
    assert record.error is not None
    assert "the disk is too full" in record.error.message
    assert "ocrvl train --name a" in record.error.hint
    assert not house.layout("a").attempt(1).log.exists()
    assert_at_rest(house)


def test_room_that_its_own_checkpoints_take_is_not_asked_for_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.train("a", die_at=5)
    taken = files.size_of_tree(house.layout("a").checkpoints)
    needed = house.plan("a", house.recipe()).disk_bytes
    monkeypatch.setattr(files, "free_bytes", lambda _: needed - taken)
    house.train("a")
    assert_done(house)


def test_a_dataset_that_changed_after_the_submission_is_refused(house: House) -> None:
    house.submit("a")
    house.data.write_text(house.data.read_text() * 2)
    house.work()
    record = house.record("a")
    assert record.error is not None
    assert record.error.code == "data_invalid"
    assert "not what it was" in record.error.message
    assert_at_rest(house)


def test_a_model_that_is_not_there_is_told_with_the_command_that_fetches_it(house: House) -> None:
    (house.places.models / "tiny" / "config.json").unlink()
    record = house.train("a")
    assert record.error is not None
    assert (record.error.code, record.error.hint) == ("not_found", "ocrvl download model tiny")


def test_a_dataset_that_is_gone_is_not_found(house: House) -> None:
    house.submit("a")
    house.data.unlink()
    house.work()
    record = house.record("a")
    assert record.error is not None
    assert str(house.data) in record.error.message


def test_a_run_without_a_record_is_not_found(house: House) -> None:
    with pytest.raises(OcrvlError, match="run 'nobody' has no record"):
        train.run({"places": house.places.model_dump(mode="json"), "name": "nobody"})


def test_resume_takes_the_newest_sound_checkpoint_and_sets_the_damaged_aside(house: House) -> None:
    house.train("a", die_at=5)
    weights = house.layout("a").checkpoint(4) / "model.safetensors"
    weights.write_text(weights.read_text()[:-1])
    record = house.train("a")
    assert record.attempts[1].resumed_from_step == 2
    assert [path.name for path in house.layout("a").set_aside.iterdir()] == ["checkpoint-4.1"]
    assert_done(house)


def test_steps_after_the_checkpoint_are_forgotten_before_they_are_made_again(house: House) -> None:
    house.train("a", die_at=5)
    assert house.steps("a") == [1, 2, 3, 4, 5]
    house.train("a", hang_at=99, die_at=4)
    assert house.steps("a") == [1, 2, 3, 4]
    assert [row["attempt"] for row in house.metrics("a")] == [1, 1, 1, 1]
    assert house.record("a").step == 4
    house.train("a")
    assert [row["attempt"] for row in house.metrics("a")] == [1, 1, 1, 1, 3, 3]
    assert_done(house)


def test_a_run_whose_last_checkpoint_is_there_only_exports(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OcrvlError("no")

    with monkeypatch.context() as patch:
        patch.setattr(train, "export_model", broken)
        house.train("a")
    record = house.train("a", fail_at=0, words="the engine must not be started")
    assert record.attempts[1].resumed_from_step == STEPS
    assert not house.layout("a").attempt(2).log.exists()
    assert_done(house)


def test_a_run_may_go_back_to_an_earlier_checkpoint_of_its_own(house: House) -> None:
    house.train("a")
    record = house.train("a", resume_from="/outputs/a/checkpoints/checkpoint-2")
    assert record.attempts[1].resumed_from_step == 2
    assert sorted(path.name for path in house.layout("a").set_aside.iterdir()) == ["checkpoint-4.1", "checkpoint-6.1"]
    assert [row["attempt"] for row in house.metrics("a")] == [1, 1, 2, 2, 2, 2]
    assert_done(house)


def test_a_run_begins_at_a_checkpoint_of_another_and_goes_on_from_its_own(house: House) -> None:
    house.train("a")
    first = house.train("b", resume_from="/outputs/a/checkpoints/checkpoint-2", die_at=3)
    assert first.attempts[0].resumed_from_step == 2
    assert first.resumed_from == "/outputs/a/checkpoints/checkpoint-2"
    second = house.train("b", die_at=5)
    assert second.attempts[1].resumed_from_step == 2
    third = house.train("b")
    assert third.attempts[2].resumed_from_step == 4
    assert house.steps("b") == [3, 4, 5, 6]
    assert house.learned("b") == learned_after(STEPS)
    assert complete_steps(house) == [2, 4, 6]


def test_a_checkpoint_that_was_asked_for_and_is_damaged_is_an_error(house: House) -> None:
    house.train("a", die_at=5)
    (house.layout("a").checkpoint(2) / "trainer.json").unlink()
    record = house.train("a", resume_from="/outputs/a/checkpoints/checkpoint-2")
    assert record.error is not None
    assert "cannot be resumed from: trainer.json is missing" in record.error.message
    assert complete_steps(house) == [4]
    house.train("a")
    assert_done(house)


def test_own_checkpoints_after_the_one_that_was_asked_for_never_stand_for_its_future(house: House) -> None:
    """A request may name another run's checkpoint although the run has newer ones of its own."""
    house.train("a")
    house.train("b", die_at=5)
    house.submit("b")
    request = {**house.backend.requests.pop(), "resume_from": "/outputs/a/checkpoints/checkpoint-2"}
    house.engine.options = {"die_at": 3}
    train.run(request)
    assert complete_steps(house, "b") == [2]
    house.train("b")
    assert house.steps("b") == ALL_STEPS


def test_limits_hold_over_all_attempts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    for module in (train, supervision):
        monkeypatch.setattr(module, "time", clock)
    limit = "limits.timeout_hours=0.5"
    house.engine.options = {"hang_at": 3}
    house.submit("a", limit)
    hour = while_training(house, lambda: clock.go_on(3600))
    house.work()
    hour.join()
    record = house.record("a")
    assert record.state == "interrupted"
    assert record.attempts[0].reason == "its time or money is used up"
    assert record.step == 3
    assert complete_steps(house) == [2, 3]
    again = house.train("a", limit)
    assert again.error is not None
    assert again.error.message == "the limits of run 'a' are used up"
    assert "limits.timeout_hours" in again.error.hint
    assert again.cost.seconds > record.cost.seconds
    house.train("a", "limits.timeout_hours=2")
    assert_done(house)
    assert house.record("a").cost.seconds > 3600


def test_a_run_that_finishes_at_its_deadline_is_done(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its deadline the engine is asked to stop, and its last checkpoint happens to be the last one of all."""
    clock = Clock()
    monkeypatch.setattr(supervision, "time", clock)
    house.engine.options = {"hang_at": STEPS - 1, "finish": True}
    house.submit("a", "limits.timeout_hours=0.5")
    hour = while_training(house, lambda: clock.go_on(3600))
    house.work()
    hour.join()
    assert_done(house)


def test_a_leftover_engine_of_an_earlier_attempt_is_ended(house: House) -> None:
    house.train("a", die_at=3)
    lock = locks.acquire(house.layout("a").engine_lock)
    assert lock is not None
    leftover = StandInEngine({"deaf": True, "hang_at": 0})
    config = house.home / "leftover.json"
    config.write_text(json.dumps({"resume_from": None, "max_steps": 1, "save_steps": 1, **leftover.options}))
    from ocrvl_modal.jobs.engine_process import EngineProcess

    process = EngineProcess(
        leftover.command(None, config), os.environ, house.home, house.layout("a").engine_group, lock
    )  # type: ignore[arg-type]
    os.close(lock)
    house.train("a")
    assert process.wait() == -signal.SIGKILL
    assert_done(house)


def test_what_a_killed_attempt_left_half_written_is_removed(house: House) -> None:
    house.train("a", die_at=3)
    layout = house.layout("a")
    (layout.checkpoints / ".checkpoint-4.x.tmp").mkdir()
    (layout.root / ".run.json.x.tmp").write_text("{")
    house.train("a")
    assert_at_rest(house)
    assert_done(house)


def test_the_engine_is_kept_from_secrets_and_its_log_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_not_for_engines")
    monkeypatch.setattr(
        StandInEngine,
        "command",
        lambda *_: ["/bin/sh", "-c", 'echo "token=$HF_TOKEN"; echo hf_not_for_engines; exit 1'],
    )
    record = house.train("a")
    log = house.layout("a").attempt(1).log.read_text()
    assert log.splitlines() == ["token=", "[removed]"]
    assert "hf_not_for_engines" not in house.layout("a").record.read_text()
    assert record.state == "failed"


def test_an_engine_gets_the_secrets_that_the_recipe_names_and_its_log_does_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_for_this_engine")
    monkeypatch.setattr(StandInEngine, "command", lambda *_: ["/bin/sh", "-c", 'echo "token=$HF_TOKEN"; exit 1'])
    house.train("a", "secrets=[HF_TOKEN]")
    assert house.layout("a").attempt(1).log.read_text() == "token=[removed]\n"


def test_a_trainer_that_cannot_be_started_fails_the_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandInEngine, "command", lambda *_: ["/no/such/program"])
    record = house.train("a")
    assert record.error is not None
    assert "/no/such/program" in record.error.message
    assert_at_rest(house)


def test_the_finished_model_is_also_put_where_the_recipe_wants_it(house: House) -> None:
    there = house.home / "my-model"
    house.train("a", f"output_dir={there}")
    assert sorted(path.name for path in there.iterdir()) == sorted(
        path.name for path in house.layout("a").export.iterdir()
    )


def test_an_output_folder_that_somebody_else_filled_meanwhile_is_not_replaced(house: House) -> None:
    there = house.home / "my-model"
    house.engine.options = {}
    house.submit("a", f"output_dir={there}")
    files.write_text(there / "thesis.txt", "years of work")
    house.work()
    record = house.record("a")
    assert (there / "thesis.txt").read_text() == "years of work"
    assert record.state == "failed"
    assert record.error is not None
    assert str(there) in record.error.message
    assert "ocrvl volume get /outputs/a/export" in record.error.hint


def test_an_output_folder_that_an_earlier_attempt_made_is_replaced(house: House) -> None:
    there = house.home / "my-model"
    house.engine.options = {}
    house.submit("a", f"output_dir={there}")
    files.write_json(there / FAMILY_FILE, {"family": "tiny"})
    house.work()
    assert_done(house)
    assert (there / "model.safetensors").read_text() == learned_after(STEPS)


def test_a_job_in_a_process_that_goes_on_lets_go_of_the_engines_lock(house: House) -> None:
    house.train("a", die_at=3)
    assert not locks.is_held(house.layout("a").engine_lock)
    house.train("a")
    assert_done(house)


def test_a_record_that_cannot_be_written_leaves_one_that_can_be_read_and_gone_on_from(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_bytes

    def full_while_training(path: Path, data: bytes) -> None:
        if path.name == "run.json" and b'"training"' in data:
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", full_while_training)
        record = house.train("a")
    assert record.state == "failed"
    assert record.error is not None
    assert "the disk is full" in record.error.message
    house.train("a")
    assert_done(house)


@pytest.mark.parametrize(("tail", "state"), [("Assistant: ", "done"), ("Assistant:\\n", "failed")])
def test_no_engine_is_started_on_a_model_that_asks_otherwise(
    house: House, tiny: Path, monkeypatch: pytest.MonkeyPatch, tail: str, state: str
) -> None:
    monkeypatch.setattr(train, "check_prompt_identity", check_prompt_identity)
    model = house.places.models / "tiny"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, model)
    template = (tiny / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").write_text(template.replace("Assistant: ", tail))
    record = house.train("a")
    assert record.state == state
    if state == "failed":
        assert record.error
        assert "Assistant:\\n" in record.error.message
        assert house.steps("a") == []
        assert not house.layout("a").attempt(1).engine_config.exists()
