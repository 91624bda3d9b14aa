"""Starting a run, or going on with one: decided under the run's reservation, so that two starts cannot cross."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from ocrvl_modal._version import __version__
from ocrvl_modal.backends.base import Backend
from ocrvl_modal.backends.runs_view import place_of
from ocrvl_modal.errors import OcrvlError, data_error, usage_error
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.plan import TrainPlan
from ocrvl_modal.recipes import TrainRecipe, dump_recipe, flatten, parse_recipe
from ocrvl_modal.runs.record import (
    Attempt,
    ErrorNote,
    RunRecord,
    close_dead_attempt,
    now,
    parse_record,
    with_state,
)

_MAY_CHANGE = (
    "limits.",
    "tracking.",
    "checkpoint.",
    "evaluation.",
    "hardware.gpu",
    "hardware.cpu",
    "hardware.memory_gib",
    "output_dir",
    "secrets",
)
"""Recipe keys that do not alter what is learned, and so may differ when a run goes on."""


@dataclass(frozen=True)
class Submission:
    """What is to be run: the resolved recipe, its plan, and the dataset's digest."""

    recipe: TrainRecipe
    member: FamilyMember
    plan: TrainPlan
    dataset_sha256: str
    resume_from: str | None = None


def submit(backend: Backend, submission: Submission, say: Callable[[str], None]) -> RunRecord:
    """Record the run and start its job; return the record as it was when the job started.

    A run that is done stays as it is, and its record is returned. Raises a usage error while another process works on
    the run, or when it was begun with a recipe that would learn something else.
    """
    name = submission.plan.run
    with backend.reserve(name) as slot:
        before = _existing(backend, name)
        resume_from = _own_checkpoint(before, submission.resume_from) if before else submission.resume_from
        if before is not None and before.state == "done" and resume_from is None and _has_export(backend, name):
            _require_same_lesson(backend, before, submission)
            return before
        record = _new_record(backend, submission) if before is None else _going_on(backend, before, submission)
        app_id = slot.prepare(submission.recipe, submission.member, say)
        # Where a reservation is no lock, another may have come first while an image was built.
        if _existing(backend, name) != before:
            raise usage_error(f"run '{name}' was started by another process", f"ocrvl runs wait {name}")
        attempt = Attempt(number=len(record.attempts) + 1, started_at=now(), app_id=app_id)
        start_id = uuid4().hex
        record = record.model_copy(update={"attempts": (*record.attempts, attempt), "start_id": start_id})
        _write(backend, name, submission, record)
        try:
            slot.spawn({"name": name, "resume_from": resume_from, "start_id": start_id}, attempt.number)
        except (OSError, OcrvlError) as error:
            _write_record(backend, _never_started(record, error))
            raise
    return record


def _has_export(backend: Backend, name: str) -> bool:
    """Say whether a run's export is there; where it is not, going on builds it again from the last checkpoint."""
    return backend.stores.exists(place_of(name, "export", "config.json"))


def _existing(backend: Backend, name: str) -> RunRecord | None:
    place = place_of(name, "run.json")
    if not backend.stores.exists(place):
        return None
    return parse_record(backend.stores.read_bytes(place), place)


def _new_record(backend: Backend, submission: Submission) -> RunRecord:
    plan, recipe = submission.plan, submission.recipe
    return RunRecord(
        name=plan.run,
        backend=backend.name,
        engine=plan.engine,
        model=plan.model,
        method=plan.method,
        dataset=str(recipe.data.train),
        dataset_sha256=submission.dataset_sha256,
        samples=plan.samples,
        max_steps=plan.max_steps,
        created_at=now(),
        updated_at=now(),
        version=__version__,
        user=_user(),
        tags=recipe.tracking.tags,
        note=recipe.tracking.note,
        resumed_from=submission.resume_from,
    )


def _going_on(backend: Backend, before: RunRecord, submission: Submission) -> RunRecord:
    """Return the record of an earlier start, ready for one more attempt.

    The reservation is held, so a record that claims work is that of a process that died.
    """
    _require_same_lesson(backend, before, submission)
    ended = close_dead_attempt(before)
    return ended.model_copy(
        update={
            "state": "submitted",
            "error": None,
            "max_steps": submission.plan.max_steps,
            "tags": submission.recipe.tracking.tags,
            "note": submission.recipe.tracking.note,
        }
    )


def _own_checkpoint(before: RunRecord, resume_from: str | None) -> str | None:
    """Return the checkpoint of its own that a run is asked to go back to; ``None`` for its newest.

    The command that began it at another run's checkpoint may be given again, and then goes on. Any other checkpoint of
    another run is refused: the run's metrics and checkpoints would be of two minds.
    """
    if resume_from is None or resume_from == before.resumed_from:
        return None
    if resume_from.startswith(place_of(before.name, "checkpoints") + "/"):
        return resume_from
    began = f"at {before.resumed_from}" if before.resumed_from else "by itself"
    raise usage_error(
        f"run '{before.name}' began {began}, and cannot go on from {resume_from}", "begin a new run: another --name"
    )


def _require_same_lesson(backend: Backend, before: RunRecord, submission: Submission) -> None:
    text = backend.stores.read_bytes(place_of(before.name, "recipe.yaml"))
    earlier, wanted = flatten(parse_recipe(text, place_of(before.name, "recipe.yaml"))), flatten(submission.recipe)
    changed = [
        f"{key}: {earlier.get(key)} → {wanted.get(key)}"
        for key in sorted({*earlier, *wanted})
        if earlier.get(key) != wanted.get(key) and not key.startswith(_MAY_CHANGE)
    ]
    if changed:
        raise usage_error(
            f"run '{before.name}' was begun with another recipe ({'; '.join(changed)})",
            f"go on with `ocrvl train --name {before.name}`, or give the new one another --name",
        )
    if submission.dataset_sha256 != before.dataset_sha256:
        raise data_error(
            f"{before.dataset} is not what it was when run '{before.name}' began",
            "put the earlier dataset back, or train under another --name",
        )


def _write(backend: Backend, name: str, submission: Submission, record: RunRecord) -> None:
    contents = {
        "recipe.yaml": dump_recipe(submission.recipe),
        "plan.json": submission.plan.model_dump_json(indent=2),
        "run.json": record.model_dump_json(indent=2),
    }
    backend.stores.write_files({place_of(name, file): text.encode() for file, text in contents.items()})


def _write_record(backend: Backend, record: RunRecord) -> None:
    backend.stores.write_bytes(place_of(record.name, "run.json"), record.model_dump_json(indent=2).encode())


def _never_started(record: RunRecord, error: OSError | OcrvlError) -> RunRecord:
    why = error.message if isinstance(error, OcrvlError) else error.strerror
    note = ErrorNote(code="failed", message=f"it could not be started: {why}")
    *before, attempt = record.attempts
    ended = attempt.model_copy(update={"ended_at": now(), "ended_as": "failed", "reason": note.message})
    return with_state(record, "failed", error=note, attempts=(*before, ended))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
