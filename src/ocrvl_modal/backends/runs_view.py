"""Runs as a reader sees them: what the record says, held against whether anyone really works on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ocrvl_modal.backends.base import Backend, Pulse
from ocrvl_modal.errors import OcrvlError, did_you_mean, not_found, usage_error
from ocrvl_modal.places import Places
from ocrvl_modal.recipes import TrainRecipe, check_name, parse_recipe
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.metrics import Row, parse_rows
from ocrvl_modal.runs.record import ACTIVE, UNFINISHED, RunRecord, State, parse_record

OUTPUTS = "/outputs"
_GONE = "its process is gone"


@dataclass(frozen=True)
class RunView:
    """A run's record, and the state that it is truly in: a record that claims work nobody does is *interrupted*."""

    record: RunRecord
    pulse: Pulse

    @property
    def alive(self) -> bool:
        """Whether some process works on the run."""
        return self.pulse.alive

    @property
    def state(self) -> State:
        """The state to show."""
        if self.record.state in ACTIVE and not self.alive:
            return "cancelled" if self.pulse.cancelled else "interrupted"
        return self.record.state

    @property
    def reason(self) -> str:
        """Why the run is not going on, in words; empty while it is, or when it is done."""
        if self.record.state in ACTIVE and not self.alive:
            return f"{self.pulse.reason or _GONE} (it was {self.record.state})"
        if self.record.error:
            return self.record.error.message
        attempt = self.record.attempt
        return attempt.reason if attempt else ""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more without a new start.

        A run that was interrupted may be about to go on: its call lives, and is started again.
        """
        return self.state not in ACTIVE and not self.alive

    def to_dict(self) -> dict[str, Any]:
        """Return the view as it stands in JSON output."""
        return {**self.record.model_dump(mode="json"), "state": self.state, "alive": self.alive, "reason": self.reason}


def place_of(name: str, *more: str) -> str:
    """Return the place of a run's folder, or of something in it."""
    return "/".join((OUTPUTS, name, *more))


def find_run(backend: Backend, name: str) -> RunView | None:
    """Return the run called ``name``, or ``None``."""
    check_name(name)
    place = place_of(name, "run.json")
    if not backend.stores.exists(place):
        return None
    return _settled_view(backend, place)


def load_run(backend: Backend, name: str) -> RunView:
    """Return the run called ``name``; raise *not found* with the nearest known name."""
    view = find_run(backend, name)
    if view is None:
        known = [view.record.name for view in list_runs(backend)[0]]
        hint = did_you_mean(name, known) if known else f"ocrvl train --name {name} --data FILE"
        raise not_found(f"there is no run named '{name}' on the {backend.name} backend", hint)
    return view


def require_idle(backend: Backend, place: str) -> None:
    """Raise a usage error where a place belongs to a run that somebody works on."""
    parts = PurePosixPath(place).parts
    if len(parts) < 3 or parts[:2] != ("/", "outputs"):
        return
    view = find_run(backend, parts[2])
    if view is not None and view.alive:
        raise usage_error(f"run '{parts[2]}' is {view.state}", f"ocrvl runs stop {parts[2]}")


def list_runs(backend: Backend) -> tuple[list[RunView], list[OcrvlError]]:
    """Return all runs, newest first, and the errors of those whose record cannot be read."""
    views: list[RunView] = []
    errors: list[OcrvlError] = []
    for entry in backend.stores.list(OUTPUTS):
        place = f"{entry.place}/run.json"
        if not entry.is_folder or not backend.stores.exists(place):
            continue
        try:
            views.append(_settled_view(backend, place))
        except OcrvlError as error:
            errors.append(error)
    return sorted(views, key=lambda view: view.record.created_at, reverse=True), errors


def _settled_view(backend: Backend, place: str) -> RunView:
    """Read the record after asking who is alive: one that ended in between has written its end by then."""
    record = parse_record(backend.stores.read_bytes(place), place)
    if record.state not in UNFINISHED:
        return RunView(record, Pulse(alive=False))
    pulse = backend.pulse(record)
    record = parse_record(backend.stores.read_bytes(place), place)
    if record.state in ACTIVE and not pulse.alive:
        record = _with_last_step(backend, record)
    return RunView(record, pulse)


def _with_last_step(backend: Backend, record: RunRecord) -> RunRecord:
    """Return the record of a dead run with the step that it really came to: its heartbeat was behind."""
    rows = load_metrics(backend, record.name)
    if not rows or rows[-1]["step"] <= record.step:
        return record
    return record.model_copy(update={"step": rows[-1]["step"], "loss": rows[-1].get("loss", record.loss)})


def load_recipe(backend: Backend, name: str) -> TrainRecipe:
    """Return the resolved recipe of a run."""
    load_run(backend, name)
    place = place_of(name, "recipe.yaml")
    return parse_recipe(backend.stores.read_bytes(place), place)


def load_metrics(backend: Backend, name: str) -> list[Row]:
    """Return the metrics of a run so far; none before its first step."""
    return _rows(backend, name, "metrics.jsonl")


def load_evaluations(backend: Backend, name: str) -> list[Row]:
    """Return the evaluation losses of a run so far."""
    return _rows(backend, name, "evaluations.jsonl")


def log_lines(backend: Backend, name: str, attempt: int | None = None, *, follow: bool = False) -> Iterator[str]:
    """Yield the lines that the engine printed, of one attempt or of all; with ``follow``, until the run has ended."""
    number = attempt or 1
    offset, rest = 0, b""
    while True:
        view = load_run(backend, name)
        place = log_place(backend.places, name, number)
        if backend.stores.exists(place):
            chunk = backend.stores.read_bytes(place, offset)
            offset += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", errors="replace")
            if chunk:
                continue
        newest = len(view.record.attempts)
        if attempt is None and number < newest:
            if rest:
                yield rest.decode("utf-8", errors="replace")
            number, offset, rest = number + 1, 0, b""
            continue
        if not follow or view.ended or number < newest:
            if rest:
                yield rest.decode("utf-8", errors="replace")
            return
        time.sleep(backend.poll_s)


def log_place(places: Places, name: str, attempt: int) -> str:
    """Return the place of one attempt's log."""
    layout = RunLayout.of(places.outputs, name)
    return place_of(name, *layout.attempt(attempt).log.relative_to(layout.root).parts)


def _rows(backend: Backend, name: str, file: str) -> list[Row]:
    place = place_of(name, file)
    if not backend.stores.exists(place):
        return []
    return parse_rows(backend.stores.read_bytes(place).decode("utf-8", errors="replace"))
