"""Watching an engine, with small programs as engines: what it prints becomes rows, checkpoints and a record."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conftest import wait_until
from jobs.standin import StandInEngine
from ocrvl_modal import locks
from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs import engine_process, supervision
from ocrvl_modal.jobs.engine_process import EngineProcess
from ocrvl_modal.jobs.secrets import Redactor
from ocrvl_modal.jobs.supervision import Ending, Supervisor
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import recipe_from
from ocrvl_modal.runs import checkpoints
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.metrics import MetricsLog, Row, read_rows
from ocrvl_modal.runs.record import Attempt, Cost, RecordWriter, RunRecord, now, read_record

STEP = "print('loss: 0.5, learning_rate: 0.001, global_step: {}, grad_norm: 2.0', flush=True)\n"
SAVE = """
folder = pathlib.Path("checkpoints/checkpoint-{0}")
folder.mkdir(parents=True)
(folder / "model.safetensors").write_text("weights of {0}")
print("saved checkpoint-{0}", flush=True)
"""
UNTIL_STOPPED = """
import signal
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
print("up", flush=True)
while not stopped:
    time.sleep(0.01)
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(0.01)
"""


@dataclass
class Watch:
    """One engine process and all that its supervisor needs; the engine runs in the run's folder."""

    layout: RunLayout
    secrets: dict[str, str] = field(default_factory=dict)
    sets: tuple[str, ...] = ()
    deadline_s: float | None = None
    started: list[EngineProcess] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        moment = now()
        record = RunRecord(
            name=self.layout.name,
            state="training",
            backend="local",
            engine="transformers",
            model="tiny",
            method="full",
            dataset="/data/x.jsonl",
            dataset_sha256="0",
            samples=1,
            max_steps=6,
            created_at=moment,
            updated_at=moment,
            version="0",
            attempts=(Attempt(number=1, started_at=moment), Attempt(number=2, started_at=moment)),
        )
        self.writer = RecordWriter(self.layout.record, record)
        self.layout.root.mkdir(parents=True)

    def supervisor(self) -> Supervisor:
        job = EngineJob(
            recipe=recipe_from({"model": {"name": "tiny"}}, self.sets),
            member=FAMILY["tiny"],
            model=self.layout.root,
            train=self.layout.root,
            validation=None,
            max_steps=6,
            warmup_steps=0,
            attempt=self.layout.attempt(2),
            checkpoints=self.layout.checkpoints,
            resume_from=None,
            scratch=self.layout.root / "scratch",
        )
        deadline = None if self.deadline_s is None else time.monotonic() + self.deadline_s
        return Supervisor(
            StandInEngine(),
            job,
            self.layout,
            self.writer,
            Redactor(self.secrets, ()),
            deadline,
            lambda: Cost(seconds=7),
            lambda: self.committed.append(len(self.committed)),
        )

    def start(self, program: str) -> EngineProcess:
        lock = locks.acquire(self.layout.engine_lock)
        assert lock is not None
        process = EngineProcess(
            [sys.executable, "-I", "-S", "-c", f"import os, pathlib, sys, time\n{program}"],
            os.environ,
            self.layout.root,
            self.layout.engine_group,
            lock,
        )
        os.close(lock)
        self.started.append(process)
        return process

    def up(self, program: str) -> EngineProcess:
        """Start a program and wait until it has said that it is up, so that signals find its handlers."""
        process = self.start(program)
        wait_until(lambda: process.next_line(0.1) == "up", "the engine")
        return process

    def __call__(self, program: str) -> Ending:
        """Watch a program to its end."""
        return self.supervisor().watch(self.start(program))

    @property
    def rows(self) -> list[Row]:
        return read_rows(self.layout.metrics)

    @property
    def log(self) -> str:
        return self.layout.attempt(2).log.read_text()

    @property
    def record(self) -> RunRecord:
        record = read_record(self.layout.record)
        assert record is not None
        return record

    @property
    def complete_steps(self) -> list[int]:
        return [checkpoint.step for checkpoint in checkpoints.complete_checkpoints(self.layout)]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(engine_process, "_DRAIN_WAIT_S", 0.3)
    watch = Watch(RunLayout(tmp_path / "run"))
    yield watch
    for process in watch.started:
        process.kill()
        process.wait()


def test_each_step_becomes_a_row_with_all_that_was_measured(watch: Watch) -> None:
    assert watch(STEP.format(1) + STEP.format(2)) == Ending(0, asked=False, error=None)
    assert [(row["step"], row["loss"], row["learning_rate"], row["grad_norm"]) for row in watch.rows] == [
        (1, 0.5, 0.001, 2.0),
        (2, 0.5, 0.001, 2.0),
    ]
    assert {row["attempt"] for row in watch.rows} == {2}
    assert all(row["time"] for row in watch.rows)


def test_an_evaluation_has_a_row_of_its_own_and_is_no_step(watch: Watch) -> None:
    watch(STEP.format(1) + "print('eval_loss: 0.25, global_step: 1')")
    assert [row["step"] for row in watch.rows] == [1]
    (row,) = read_rows(watch.layout.evaluations)
    assert (row["step"], row["eval_loss"], row["attempt"]) == (1, 0.25, 2)
    assert watch.record.eval_loss == 0.25


def test_the_record_follows_step_loss_and_cost(watch: Watch) -> None:
    watch(STEP.format(1) + STEP.format(2))
    record = watch.record
    assert (record.step, record.loss, record.cost.seconds, record.state) == (2, 0.5, 7, "training")
    assert record.heartbeat_at is not None


def test_the_log_holds_every_line_also_those_that_mean_nothing(watch: Watch) -> None:
    watch("print('hello')\n" + STEP.format(1) + "print('grüße', file=sys.stderr)")
    assert watch.log.splitlines()[0] == "hello"
    assert watch.log.splitlines()[2] == "grüße"


def test_the_log_of_an_attempt_is_added_to_and_never_overwritten(watch: Watch) -> None:
    watch.layout.attempt(2).root.mkdir(parents=True)
    watch.layout.attempt(2).log.write_text("before\n")
    watch("print('after')")
    assert watch.log == "before\nafter\n"


def test_a_saved_checkpoint_becomes_complete(watch: Watch) -> None:
    watch(STEP.format(1) + SAVE.format(1))
    assert watch.complete_steps == [1]
    assert checkpoints.problem_with(watch.layout.checkpoint(1), digests=True) is None


def test_a_checkpoint_is_complete_only_after_the_rows_of_its_steps_are_safe(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, mark = MetricsLog.sync, checkpoints.mark_complete

    def syncing(log: MetricsLog) -> None:
        sync(log)
        events.append(f"{log._path.name} is safe with {len(read_rows(log._path))} rows")

    def marking(folder: Path, step: int) -> checkpoints.Checkpoint:
        events.append(f"{step} is marked")
        return mark(folder, step)

    monkeypatch.setattr(MetricsLog, "sync", syncing)
    monkeypatch.setattr(checkpoints, "mark_complete", marking)
    watch(STEP.format(1) + "print('eval_loss: 0.25, global_step: 1', flush=True)\n" + SAVE.format(1) + STEP.format(2))
    assert events == ["metrics.jsonl is safe with 1 rows", "evaluations.jsonl is safe with 1 rows", "1 is marked"]


def test_the_record_knows_the_step_of_a_checkpoint_as_soon_as_it_is_complete(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "HEARTBEAT_S", 3600.0)
    mark, steps = checkpoints.prune, []

    def pruning(layout: RunLayout, keep: int) -> list[int]:
        steps.append(watch.record.step if watch.layout.record.exists() else None)
        return mark(layout, keep)

    monkeypatch.setattr(checkpoints, "prune", pruning)
    watch(STEP.format(1) + SAVE.format(1) + STEP.format(2) + SAVE.format(2))
    assert steps[1] == 1


def test_checkpoints_over_the_limit_go_oldest_first(watch: Watch) -> None:
    watch.sets = ("checkpoint.save_total_limit=2",)
    watch("".join(SAVE.format(step) for step in (1, 2, 3, 4)))
    assert watch.complete_steps == [3, 4]
    assert not watch.layout.checkpoint(1).exists()


def test_a_checkpoint_that_the_engine_claims_and_that_is_not_there_is_an_error_and_no_checkpoint(watch: Watch) -> None:
    with pytest.raises(OSError, match="checkpoint-3"):
        watch("print('saved checkpoint-3')")
    assert not watch.layout.checkpoint(3).exists()
    assert watch.complete_steps == []


@pytest.mark.parametrize("failures", [1, 3])
def test_a_heartbeat_that_cannot_be_written_is_missed_and_the_next_one_tells_all(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr(supervision, "HEARTBEAT_S", 0.0)
    write, left = RecordWriter.write, [failures]

    def failing(writer: RecordWriter, record: RunRecord) -> RunRecord:
        if left[0] > 0:
            left[0] -= 1
            raise OSError(28, "No space left on device")
        return write(writer, record)

    monkeypatch.setattr(RecordWriter, "write", failing)
    assert watch(STEP.format(1) + "time.sleep(0.5)").code == 0
    assert left == [0]
    assert (watch.record.step, watch.record.loss) == (1, 0.5)


def test_a_loss_that_is_no_number_does_not_stand_in_the_record(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocrvl_modal.engines.base import StepLogged

    events = {"a": (StepLogged(1, 0.5, 0.1),), "b": (StepLogged(2, float("nan"), 0.1),)}
    monkeypatch.setattr(StandInEngine, "read_line", lambda _self, line, _job: events[line])
    watch("print('a'); print('b')")
    assert (watch.record.step, watch.record.loss) == (2, 0.5)


def test_past_its_deadline_the_engine_is_asked_to_stop_and_saves(watch: Watch) -> None:
    process = watch.up(UNTIL_STOPPED + STEP.format(5) + SAVE.format(5) + "sys.exit(75)")
    watch.deadline_s = 0.1
    supervisor = watch.supervisor()
    ending = supervisor.watch(process)
    assert supervisor.past_deadline
    assert (ending.code, ending.asked) == (75, True)
    assert watch.complete_steps == [5]
    assert watch.record.step == 5


def test_an_engine_that_ignores_the_request_is_killed_after_the_grace(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_GRACE_S", 0.3)
    process = watch.up(DEAF)
    watch.deadline_s = 0.1
    ending = watch.supervisor().watch(process)
    assert (ending.code, ending.asked) == (-9, True)
    assert not locks.is_held(watch.layout.engine_lock)


def test_a_second_signal_while_the_engine_saves_leaves_no_engine_behind(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = watch.supervisor()
    watch.layout.attempt(2).root.mkdir(parents=True)
    process = watch.up(DEAF)
    take = supervisor._take

    def interrupted(*arguments: Any) -> None:
        take(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        supervisor.stop(process)
    wait_until(lambda: not locks.is_held(watch.layout.engine_lock), "the engine's end", 10)


def test_the_engines_own_words_are_its_error(watch: Watch) -> None:
    said = "error: " + json.dumps({"code": "data_invalid", "message": "row 3 is bad", "hint": "mend it"})
    ending = watch(f"print({said!r}); print('and more'); sys.exit(1)")
    assert ending.code == 1
    assert isinstance(ending.error, OcrvlError)
    assert ending.error.to_dict() == {"code": "data_invalid", "message": "row 3 is bad", "hint": "mend it"}


def test_without_words_the_last_lines_are_the_error(watch: Watch) -> None:
    ending = watch("for n in range(40): print('line', n)\nsys.exit(3)")
    assert ending.error is not None
    message = ending.error.message.splitlines()
    assert message[0] == "the engine ended with exit code 3; its last lines:"
    assert message[1:] == [f"line {n}" for n in range(28, 40)]
    assert ending.error.hint == "ocrvl runs logs run"


def test_a_killed_engine_is_told_by_its_signal(watch: Watch) -> None:
    ending = watch("print('x', flush=True); os.kill(os.getpid(), 9)")
    assert ending.error is not None
    assert ending.error.message == "the engine was killed by signal 9"


def test_secrets_are_removed_from_the_log_the_last_lines_and_the_engines_words(watch: Watch) -> None:
    watch.secrets = {"HF_TOKEN": "hf_secret"}
    ending = watch("print('token hf_secret'); sys.exit(1)")
    assert ending.error is not None
    assert "hf_secret" not in watch.log + ending.error.message
    said = "error: " + json.dumps({"code": "failed", "message": "cannot use hf_secret", "hint": "look at hf_secret"})
    ending = watch(f"print({said!r}); sys.exit(1)")
    assert ending.error is not None
    assert ending.error.to_dict() == {
        "code": "failed",
        "message": "cannot use [removed]",
        "hint": "look at [removed]",
    }


def test_what_an_engine_prints_is_in_the_log_while_it_runs(watch: Watch) -> None:
    seen: list[str] = []
    supervisor = watch.supervisor()
    process = watch.start("print('first', flush=True); time.sleep(0.5)")
    read: Callable[[str, EngineJob], Any] = StandInEngine().read_line

    class Looking(StandInEngine):
        def read_line(self, line: str, job: EngineJob) -> Any:
            seen.append(watch.log)
            return read(line, job)

    supervisor._engine = Looking()
    supervisor.watch(process)
    assert seen == ["first\n"]
