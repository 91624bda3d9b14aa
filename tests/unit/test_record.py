from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.runs.record import (
    ACTIVE,
    RESUMABLE,
    Attempt,
    Cost,
    ErrorNote,
    RecordWriter,
    RunRecord,
    State,
    close_dead_attempt,
    parse_record,
    read_record,
    with_state,
)

STATES: tuple[State, ...] = get_args(State)
START = datetime(2026, 11, 21, 8, 0, tzinfo=timezone.utc)

# What may follow what, as the design draws it: forward through the stages, out of any of them, and back in again.
FORWARD = {
    ("submitted", "preparing"),
    ("preparing", "training"),
    ("preparing", "exporting"),
    ("training", "exporting"),
    ("exporting", "done"),
}
OUT = {
    (state, end)
    for state in ("submitted", "preparing", "training", "exporting")
    for end in ("interrupted", "failed", "cancelled")
}
BACK = {(state, again) for state in ("interrupted", "failed", "cancelled") for again in ("submitted", "preparing")}
ALLOWED = FORWARD | OUT | BACK


def a_record(**changes: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "name": "lines",
        "backend": "local",
        "engine": "transformers",
        "model": "tiny",
        "method": "full",
        "dataset": "/data/lines/train.jsonl",
        "dataset_sha256": "0" * 64,
        "samples": 1024,
        "max_steps": 704,
        "created_at": START,
        "updated_at": START,
        "version": "0.1.0",
    }
    return RunRecord(**{**facts, **changes})


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_run_changes_state_only_as_drawn(before: State, after: State) -> None:
    record = a_record(state=before)
    if before == after or (before, after) in ALLOWED:
        assert with_state(record, after, step=3).state == after
        assert with_state(record, after, step=3).step == 3
    else:
        with pytest.raises(ValueError, match=f"a run that is {before} cannot become {after}"):
            with_state(record, after)


def test_every_state_is_at_work_or_can_go_on_or_is_done() -> None:
    assert ACTIVE.isdisjoint(RESUMABLE)
    assert ACTIVE | RESUMABLE | {"done"} == set(STATES)


def test_a_record_reads_back_equal(tmp_path: Path) -> None:
    record = a_record(
        state="failed",
        step=40,
        loss=0.25,
        heartbeat_at=START + timedelta(milliseconds=1),
        tags=("früh", "b"),
        attempts=(
            Attempt(number=1, started_at=START, ended_at=START + timedelta(seconds=9), ended_as="interrupted"),
            Attempt(number=2, started_at=START, resumed_from_step=40, reason="disk full"),
        ),
        cost=Cost(gpu="L40S:2", seconds=9.5, usd=Decimal("0.0103")),
        error=ErrorNote(code="failed", message="disk full", hint="make room"),
    )
    written = RecordWriter(tmp_path / "run.json", record).write(record)
    assert read_record(tmp_path / "run.json") == written
    assert written.model_copy(update={"updated_at": START}) == record


def test_each_write_says_when_it_was(tmp_path: Path) -> None:
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    written = RecordWriter(tmp_path / "run.json", a_record()).update(step=1)
    assert before <= written.updated_at <= datetime.now(timezone.utc)


def test_the_record_on_disk_names_its_state(tmp_path: Path) -> None:
    RecordWriter(tmp_path / "run.json", a_record()).move_to("preparing")
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["state"] == "preparing"


def test_a_forbidden_change_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "run.json", a_record())
    writer.update(step=1)
    with pytest.raises(ValueError, match="cannot become done"):
        writer.move_to("done")
    record = read_record(tmp_path / "run.json")
    assert record is not None
    assert record.state == writer.record.state == "submitted"


def test_only_the_newest_attempt_is_changed(tmp_path: Path) -> None:
    attempts = (Attempt(number=1, started_at=START), Attempt(number=2, started_at=START))
    record = RecordWriter(tmp_path / "run.json", a_record(attempts=attempts)).update_attempt(reason="killed")
    assert [attempt.reason for attempt in record.attempts] == ["", "killed"]
    assert record.attempt == record.attempts[1]


def test_an_attempt_lasts_from_its_start_to_its_end() -> None:
    attempt = Attempt(number=1, started_at=START)
    assert attempt.seconds == 0.0
    assert attempt.model_copy(update={"ended_at": START + timedelta(minutes=2)}).seconds == 120.0


def test_an_attempt_that_died_before_its_first_heartbeat_does_not_end_before_it_began() -> None:
    # The heartbeat is that of an earlier attempt.
    attempt = Attempt(number=2, started_at=START + timedelta(hours=3))
    ended = close_dead_attempt(a_record(attempts=(attempt,), heartbeat_at=START)).attempt
    assert ended is not None
    assert (ended.ended_as, ended.seconds) == ("interrupted", 0.0)


def test_a_run_without_a_record_has_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "run.json") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", json.dumps({"name": "lines", "a_later_field": 1}).encode()],
)
def test_a_record_that_cannot_be_read_is_an_error_that_names_its_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(OcrvlError, match=r"run\.json cannot be read"):
        read_record(tmp_path / "run.json")


def test_a_record_with_a_field_that_we_do_not_know_is_refused() -> None:
    text = a_record().model_dump_json().removesuffix("}") + ', "a_later_field": 1}'
    with pytest.raises(OcrvlError) as caught:
        parse_record(text, "run.json")
    assert "another version" in caught.value.hint


def test_an_attempt_and_its_run_end_in_one_write(tmp_path: Path) -> None:
    attempts = (Attempt(number=1, started_at=START), Attempt(number=2, started_at=START))
    writer = RecordWriter(tmp_path / "run.json", a_record(state="training", attempts=attempts))
    record = writer.end_attempt("failed", "disk full", error=ErrorNote(code="failed", message="disk full"))
    assert read_record(tmp_path / "run.json") == record
    assert record.state == "failed"
    assert [(attempt.ended_as, attempt.reason) for attempt in record.attempts] == [(None, ""), ("failed", "disk full")]
    assert record.attempts[1].ended_at is not None


def test_a_change_that_could_not_be_written_did_not_happen(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "run.json", a_record(state="preparing"))
    (tmp_path / "run.json").mkdir()
    with pytest.raises(OSError):
        writer.move_to("training", step=3)
    assert (writer.record.state, writer.record.step) == ("preparing", 0)
