"""Watching an engine train: its lines become metrics, its checkpoints become complete, its limits are kept."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.engines.base import (
    CheckpointSaved,
    Engine,
    EngineEvent,
    EngineFailed,
    EngineJob,
    EvaluationLogged,
    StepLogged,
)
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs.engine_log import EngineLog
from ocrvl_modal.jobs.engine_process import EngineProcess
from ocrvl_modal.jobs.held_signals import held_signals
from ocrvl_modal.jobs.secrets import Redactor
from ocrvl_modal.runs import checkpoints
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.metrics import MetricsLog
from ocrvl_modal.runs.record import Cost, RecordWriter, now

HEARTBEAT_S = 1.0
STOP_GRACE_S = 25.0
"""An engine that was asked to stop has this long to save; a preempted container has 30 seconds in all."""

FLOOD_BYTES = 64 << 20
"""An engine that prints so much without a step will not make one: it skips its samples, one warning each."""

_POLL_S = 0.2
_LAST_LINES = 12
_LOOK_AT_LOGS_S = 5.0


@dataclass(frozen=True)
class Ending:
    """How an engine's process ended: its exit code, whether it was asked to, and what it said of a failure.

    ``is_stuck`` says that it was stopped because it made no step any more; ``error`` then says why.
    """

    code: int
    asked: bool
    error: OcrvlError | None
    is_stuck: bool = False


class Supervisor:
    """Supervises one engine process of one attempt."""

    def __init__(
        self,
        engine: Engine,
        job: EngineJob,
        layout: RunLayout,
        writer: RecordWriter,
        redact: Redactor,
        deadline: float | None,
        cost: Callable[[], Cost],
        commit: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._job = job
        self._layout = layout
        self._writer = writer
        self._redact = redact
        self._deadline = deadline
        self._cost = cost
        self._commit = commit
        self._metrics = MetricsLog(layout.metrics)
        self._evaluations = MetricsLog(layout.evaluations)
        self._number = len(writer.record.attempts)
        self._said: OcrvlError | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._changes: dict[str, object] = {}
        self._beat_at = 0.0
        self._log = EngineLog(job.attempt.log)
        self._progress_at = time.monotonic()
        self._looked_at = 0.0
        self._logged_elsewhere = 0
        self._elsewhere_at_progress = 0
        self.past_deadline = False

    def watch(self, process: EngineProcess) -> Ending:
        """Follow the engine to its end. Raises what a signal raises in here; then call :meth:`stop`."""
        self._progress_at = time.monotonic()
        stuck: OcrvlError | None = None
        with self._log.opened(), held_signals() as let_through:
            while not (process.at_end or self.past_deadline or stuck):
                self._take(process.next_line(_POLL_S))
                self._heartbeat()
                let_through()
                self.past_deadline = self._is_past_deadline()
                stuck = None if self.past_deadline else self._stuck()
        if stuck:
            return replace(self.stop(process), error=stuck, is_stuck=True)
        return self.stop(process) if self.past_deadline else self._end(process, asked=False)

    def stop(self, process: EngineProcess) -> Ending:
        """Let the engine save and end; kill it when it takes too long."""
        process.ask_to_stop()
        deadline = time.monotonic() + STOP_GRACE_S
        try:
            with self._log.opened():
                while not process.at_end and time.monotonic() < deadline:
                    self._take(process.next_line(_POLL_S))
        finally:
            process.kill()
        return self._end(process, asked=True)

    def _end(self, process: EngineProcess, *, asked: bool) -> Ending:
        code = process.wait()
        for event in self._engine.at_end(code, self._job):
            self._handle(event)
        self._heartbeat(force=True)
        self._metrics.close()
        self._evaluations.close()
        return Ending(code, asked, self._said or self._error_of(code))

    def _take(self, line: str | None) -> None:
        if line is None:
            return
        shown = self._redact(line)
        self._log.write(shown)
        self._last_lines.append(shown)
        for event in self._engine.read_line(line, self._job):
            self._handle(event)

    def _handle(self, event: EngineEvent) -> None:
        match event:
            case StepLogged():
                self._log_step(event)
            case EvaluationLogged():
                row = {"step": event.step, "eval_loss": event.eval_loss, **self._stamp()}
                self._evaluations.append(row)
                self._changes["eval_loss"] = event.eval_loss
            case CheckpointSaved():
                self._complete(event.folder, event.step)
            case EngineFailed():
                told = event.error
                self._said = OcrvlError(self._redact(told.message), self._redact(told.hint), told.code)
                return
        # Only now: marking a checkpoint may take minutes, in which nobody listened to the engine.
        self._progress_at = time.monotonic()
        self._elsewhere_at_progress = self._logged_elsewhere
        self._log.progress()

    def _stuck(self) -> OcrvlError | None:
        """Return why the engine will make no step any more; ``None`` while it may."""
        name = self._layout.name
        silent_s = time.monotonic() - self._progress_at
        allowed_min = self._job.recipe.limits.stall_minutes
        if silent_s > allowed_min * 60:
            return OcrvlError(
                f"the engine logged no step for {allowed_min:g} minutes, and was stopped{self._and_its_last_lines()}",
                f"ocrvl runs logs {name}; where its steps do take so long: ocrvl train --name {name}"
                f" --set limits.stall_minutes={4 * allowed_min:g}",
            )
        printed = self._log.bytes_since_progress + self._growth_of_other_logs()
        if printed > FLOOD_BYTES:
            return OcrvlError(
                f"the engine printed {printed >> 20} MiB without a step, and was stopped{self._and_its_last_lines()}",
                f"ocrvl runs logs {name}; an engine prints so much when it can use none of its samples:"
                f" ocrvl data check {self._job.recipe.data.train}",
            )
        return None

    def _growth_of_other_logs(self) -> int:
        """Return how much the engine's own log files grew since its last step."""
        if time.monotonic() - self._looked_at > _LOOK_AT_LOGS_S:
            self._looked_at = time.monotonic()
            self._logged_elsewhere = files.size_of_tree(self._job.worker_logs)
        return self._logged_elsewhere - self._elsewhere_at_progress

    def _and_its_last_lines(self) -> str:
        last = "\n".join(self._last_lines)
        return f"; its last lines:\n{last}" if last else ""

    def _log_step(self, event: StepLogged) -> None:
        self._metrics.append(
            {
                "step": event.step,
                "loss": event.loss,
                "learning_rate": event.learning_rate,
                **self._stamp(),
                **event.more,
            }
        )
        self._changes["step"] = event.step
        if math.isfinite(event.loss):
            self._changes["loss"] = event.loss

    def _stamp(self) -> dict[str, object]:
        return {"attempt": self._number, "time": now().isoformat()}

    def _complete(self, folder: Path, step: int) -> None:
        """Mark a checkpoint only after its steps' rows are safe: a resume from it then finds them all."""
        self._metrics.sync()
        self._evaluations.sync()
        checkpoints.mark_complete(folder, step)
        checkpoints.prune(self._layout, self._job.recipe.checkpoint.save_total_limit)
        self._heartbeat(force=True)
        self._commit()

    def _heartbeat(self, *, force: bool = False) -> None:
        if not force and time.monotonic() - self._beat_at < HEARTBEAT_S:
            return
        self._beat_at = time.monotonic()
        try:
            self._writer.update(heartbeat_at=now(), cost=self._cost(), **self._changes)
        except OSError:
            # A heartbeat may be missed; where the disk stays full, what cannot be missed will say so.
            return
        self._changes = {}

    def _is_past_deadline(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _error_of(self, code: int) -> OcrvlError | None:
        if code == 0:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return OcrvlError(
            f"the engine {how}" + (self._and_its_last_lines() if code > 0 else ""),
            f"ocrvl runs logs {self._layout.name}",
        )
