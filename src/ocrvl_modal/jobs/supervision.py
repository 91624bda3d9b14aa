"""Watching an engine train: its lines become metrics, its checkpoints become complete, its limits are kept."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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
from ocrvl_modal.jobs.engine_process import EngineProcess
from ocrvl_modal.jobs.secrets import Redactor
from ocrvl_modal.runs import checkpoints
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.metrics import MetricsLog
from ocrvl_modal.runs.record import Cost, RecordWriter, now

HEARTBEAT_S = 1.0
STOP_GRACE_S = 25.0
"""An engine that was asked to stop has this long to save; a preempted container has 30 seconds in all."""

_POLL_S = 0.2
_LAST_LINES = 12


@dataclass(frozen=True)
class Ending:
    """How an engine's process ended: its exit code, whether it was asked to, and what it said of a failure."""

    code: int
    asked: bool
    error: OcrvlError | None


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
    ) -> None:
        self._engine = engine
        self._job = job
        self._layout = layout
        self._writer = writer
        self._redact = redact
        self._deadline = deadline
        self._cost = cost
        self._metrics = MetricsLog(layout.metrics)
        self._evaluations = MetricsLog(layout.evaluations)
        self._number = len(writer.record.attempts)
        self._said: OcrvlError | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._changes: dict[str, object] = {}
        self._beat_at = 0.0
        self.past_deadline = False

    def watch(self, process: EngineProcess) -> Ending:
        """Follow the engine to its end. Raises what a signal raises in here; then call :meth:`stop`."""
        self._job.attempt.log.parent.mkdir(parents=True, exist_ok=True)
        with self._job.attempt.log.open("a", encoding="utf-8") as log:
            while not process.at_end:
                self._take(process.next_line(_POLL_S), log)
                self._heartbeat()
                if self._is_past_deadline():
                    self.past_deadline = True
                    return self.stop(process)
        return self._end(process, asked=False)

    def stop(self, process: EngineProcess) -> Ending:
        """Let the engine save and end; kill it when it takes too long."""
        process.ask_to_stop()
        deadline = time.monotonic() + STOP_GRACE_S
        try:
            with self._job.attempt.log.open("a", encoding="utf-8") as log:
                while not process.at_end and time.monotonic() < deadline:
                    self._take(process.next_line(_POLL_S), log)
        finally:
            process.kill()
        return self._end(process, asked=True)

    def _end(self, process: EngineProcess, *, asked: bool) -> Ending:
        code = process.wait()
        self._heartbeat(force=True)
        self._metrics.close()
        self._evaluations.close()
        return Ending(code, asked, self._said or self._error_of(code))

    def _take(self, line: str | None, log: IO[str]) -> None:
        if line is None:
            return
        shown = self._redact(line)
        log.write(shown + "\n")
        log.flush()
        self._last_lines.append(shown)
        event = self._engine.read_line(line, self._job)
        if event is not None:
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
        last = "\n".join(self._last_lines)
        return OcrvlError(
            f"the engine {how}" + (f"; its last lines:\n{last}" if code > 0 and last else ""),
            f"ocrvl runs logs {self._layout.name}",
        )
