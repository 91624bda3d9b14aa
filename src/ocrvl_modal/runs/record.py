"""``run.json``: who, what, state, attempts and cost of a run. One writer at a time, each change replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ocrvl_modal import files
from ocrvl_modal.errors import OcrvlError

State = Literal["submitted", "preparing", "training", "interrupted", "exporting", "done", "failed", "cancelled"]

ACTIVE: frozenset[State] = frozenset({"submitted", "preparing", "training", "exporting"})
"""States in which some process must be at work; where none is, the run is shown as interrupted."""

UNFINISHED: frozenset[State] = ACTIVE | {"interrupted"}
"""States in which a call may be at work, or about to be started again by its host."""

DIED = "its process died"
"""How the reason of an attempt begins whose process could not say how it ended."""

RESUMABLE: frozenset[State] = frozenset({"interrupted", "failed", "cancelled"})

_ALLOWED: dict[State, frozenset[State]] = {
    "submitted": frozenset({"preparing", "interrupted", "failed", "cancelled"}),
    "preparing": frozenset({"training", "exporting", "interrupted", "failed", "cancelled"}),
    "training": frozenset({"exporting", "interrupted", "failed", "cancelled"}),
    "exporting": frozenset({"done", "interrupted", "failed", "cancelled"}),
    "interrupted": frozenset({"submitted", "preparing"}),
    "failed": frozenset({"submitted", "preparing"}),
    "cancelled": frozenset({"submitted", "preparing"}),
    "done": frozenset(),
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorNote(_Frozen):
    """Why a run ended badly, and what mends it."""

    code: str
    message: str
    hint: str = ""


class Attempt(_Frozen):
    """One try at a run, from the start of its supervisor to its end."""

    number: int
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    resumed_from_step: int | None = None
    ended_as: State | None = None
    reason: str = ""
    call_id: str = ""
    app_id: str = ""
    host: str = ""

    @property
    def seconds(self) -> float:
        """How long it ran; 0 while it has not ended."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else 0.0


class Cost(_Frozen):
    """What a run used. ``usd`` is time at the list price; it is 0 on the local backend."""

    gpu: str | None = None
    seconds: float = 0.0
    usd: Decimal = Decimal(0)


class RunRecord(_Frozen):
    """The content of ``run.json``."""

    schema_version: int = 1
    name: str
    state: State = "submitted"
    backend: str
    engine: str
    model: str
    method: str
    dataset: str
    dataset_sha256: str
    samples: int
    max_steps: int
    step: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    heartbeat_at: AwareDatetime | None = None
    version: str
    user: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    start_id: str = Field("", description="Of the newest start: a call that was sent for another one does nothing.")
    resumed_from: str | None = Field(None, description="A checkpoint of another run that this one began at.")
    attempts: tuple[Attempt, ...] = ()
    cost: Cost = Cost()
    error: ErrorNote | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None


def now() -> datetime:
    """Return the present moment, in UTC, to the millisecond."""
    moment = datetime.now(timezone.utc)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def parse_record(text: str | bytes, origin: str) -> RunRecord:
    """Read a record; raise an error that names ``origin`` where it is not one."""
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        raise OcrvlError(
            f"{origin} cannot be read: {error.errors(include_url=False)[0]['msg']}",
            "it was written by another version of ocrvl, or changed by hand",
        ) from error


def read_record(path: Path) -> RunRecord | None:
    """Return the record at ``path``, or ``None`` where there is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse_record(content, str(path))


def with_state(record: RunRecord, state: State, **changes: Any) -> RunRecord:
    """Return ``record`` in a new state; a change that the states do not allow is a programming error."""
    if state != record.state and state not in _ALLOWED[record.state]:
        raise ValueError(f"a run that is {record.state} cannot become {state}")
    return record.model_copy(update={"state": state, **changes})


def close_dead_attempt(record: RunRecord) -> RunRecord:
    """Return the record with its newest attempt ended, where its process died before it could say so."""
    if record.state not in ACTIVE:
        return record
    attempt = record.attempt
    if attempt is not None and attempt.ended_at is None:
        died = attempt.model_copy(
            update={
                "ended_at": max(attempt.started_at, record.heartbeat_at or record.updated_at),
                "ended_as": "interrupted",
                "reason": f"{DIED} while {record.state}",
            }
        )
        record = record.model_copy(update={"attempts": (*record.attempts[:-1], died)})
    return with_state(record, "interrupted")


class RecordWriter:
    """The one writer of a run's record. Whoever holds the run's lock, or is its only call, may have one."""

    def __init__(self, path: Path, record: RunRecord, commit: Callable[[], None] | None = None) -> None:
        """``commit`` is called after each change of state, where a write alone does not show the change to others."""
        self._path = path
        self._commit = commit
        self.record = record

    def update(self, **changes: Any) -> RunRecord:
        """Change fields and write the record."""
        return self.write(self.record.model_copy(update=changes))

    def move_to(self, state: State, **changes: Any) -> RunRecord:
        """Change the state, and fields with it, write the record and commit it."""
        record = self.write(with_state(self.record, state, **changes))
        if self._commit:
            self._commit()
        return record

    def update_attempt(self, **changes: Any) -> RunRecord:
        """Change the newest attempt and write the record."""
        *before, newest = self.record.attempts
        return self.update(attempts=(*before, newest.model_copy(update=changes)))

    def end_attempt(self, state: State, reason: str, **changes: Any) -> RunRecord:
        """End the newest attempt, and the run with it for now, in one write: the two never disagree."""
        *before, newest = self.record.attempts
        ended = newest.model_copy(update={"ended_at": now(), "ended_as": state, "reason": reason})
        return self.move_to(state, attempts=(*before, ended), **changes)

    def write(self, record: RunRecord) -> RunRecord:
        """Write ``record`` as it is, with the time of the change; it counts only when it is written."""
        record = record.model_copy(update={"updated_at": now()})
        files.write_json(self._path, json.loads(record.model_dump_json()))
        self.record = record
        return record
