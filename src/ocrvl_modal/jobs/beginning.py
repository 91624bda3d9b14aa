"""How an attempt at a run begins: whether this call may work on it at all, and under which number."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs.host import Host
from ocrvl_modal.runs.record import (
    DIED,
    UNFINISHED,
    Attempt,
    RecordWriter,
    RunRecord,
    close_dead_attempt,
    now,
    with_state,
)

_DEATHS_IN_A_ROW = 3


def is_over(record: RunRecord, start_id: str) -> bool:
    """Say whether a call must leave a run alone.

    That is so where the run has ended, or was started once more by another call: one that was sent twice, since its
    first answer was lost, may come late.
    """
    return record.state not in UNFINISHED or start_id not in {"", record.start_id}


def begin_attempt(writer: RecordWriter, host: Host) -> Sequence[Attempt]:
    """Take the attempt that the run was submitted with, or add one where the host started this job again.

    Returns the attempts that this call made before; none when it is the first.
    """
    record = writer.record
    again = record.state != "submitted"
    if again:
        record = close_dead_attempt(record)
        app_id = record.attempts[-1].app_id
        following = Attempt(number=len(record.attempts) + 1, started_at=now(), app_id=app_id)
        record = record.model_copy(update={"attempts": (*record.attempts, following)})
    *before, newest = record.attempts
    newest = newest.model_copy(update={"call_id": host.call_id, "host": os.uname().nodename})
    writer.write(with_state(record, "preparing", attempts=(*before, newest)))
    host.commit()
    return [attempt for attempt in before if attempt.call_id == host.call_id] if again else ()


def require_progress(name: str, before: Sequence[Attempt]) -> None:
    """Raise where the last attempts died at one place without a word: starting again would only cost money."""
    died = [attempt for attempt in before[-_DEATHS_IN_A_ROW:] if _died(attempt)]
    stands_still = len({attempt.resumed_from_step for attempt in died}) == 1
    if len(died) == _DEATHS_IN_A_ROW and stands_still:
        raise OcrvlError(
            f"{_DEATHS_IN_A_ROW} attempts in a row died before their next checkpoint, without a word: most likely"
            " they had too little memory",
            f"ocrvl runs logs {name}; then ocrvl train --name {name} --set hardware.memory_gib=N"
            " (or a smaller batch, in a new run)",
        )


def _died(attempt: Attempt) -> bool:
    return attempt.ended_as == "interrupted" and attempt.reason.startswith(DIED)
