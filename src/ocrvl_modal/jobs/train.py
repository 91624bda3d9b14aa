"""The training job: prepare, choose a checkpoint, launch, supervise, mark, export, finish."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files
from ocrvl_modal.engines import get_engine
from ocrvl_modal.engines.base import STOPPED_EXIT_CODE, EngineJob
from ocrvl_modal.engines.prompt_identity import check_prompt_identity
from ocrvl_modal.errors import OcrvlError, data_error, not_found, of_the_system, usage_error
from ocrvl_modal.jobs.beginning import begin_attempt, is_over, require_progress
from ocrvl_modal.jobs.datasets import digest_of, localized
from ocrvl_modal.jobs.engine_process import EngineProcess, end_leftover_engine
from ocrvl_modal.jobs.host import Host, HostTimeIsUp
from ocrvl_modal.jobs.reader_python import export_model
from ocrvl_modal.jobs.secrets import Redactor, environment_for_engine, given_variables
from ocrvl_modal.jobs.starting_point import choose_checkpoint
from ocrvl_modal.jobs.supervision import Ending, Supervisor
from ocrvl_modal.model_folders import model_folder
from ocrvl_modal.models import FAMILY_FILE, FamilyMember, member_of
from ocrvl_modal.places import Places
from ocrvl_modal.plan import TrainPlan
from ocrvl_modal.recipes import TrainRecipe, parse_recipe
from ocrvl_modal.runs import checkpoints
from ocrvl_modal.runs.checkpoints import Checkpoint
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.metrics import MetricsLog
from ocrvl_modal.runs.record import (
    ACTIVE,
    Attempt,
    Cost,
    ErrorNote,
    RecordWriter,
    State,
    read_record,
)

_RESERVE_BYTES = 1 << 18


class TrainRequest(BaseModel):
    """Which run to work on. Its record, recipe and plan lie in its folder already."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    name: str
    resume_from: str | None = None
    start_id: str = ""


def run(request: dict[str, Any], host: Host | None = None) -> dict[str, Any]:
    """Work on a run until it is done, or until something ends the attempt; the record always says which.

    Where the host starts an interrupted job again by itself, what interrupted it is raised again at the end.
    """
    asked = TrainRequest.model_validate(request)
    host = host or Host.this_process()
    record = read_record(RunLayout.of(asked.places.outputs, asked.name).record)
    if record is not None and is_over(record, asked.start_id):
        return {"state": record.state, "step": record.step}
    attempt = _Attempt(asked, host)
    stopped_by: BaseException | None = None
    try:
        attempt.work()
    except KeyboardInterrupt as interrupt:
        stopped_by = interrupt
        attempt.end("interrupted", "it was interrupted")
    except HostTimeIsUp as up:
        stopped_by = up
        attempt.end("interrupted", str(up))
    except host.cancellations as cancellation:
        stopped_by = cancellation
        attempt.end("cancelled", "it was cancelled")
    except OcrvlError as error:
        attempt.fail(error)
    except OSError as error:
        name = attempt.layout.name
        attempt.fail(of_the_system(error, f"run `ocrvl train --name {name}`: it goes on from its last checkpoint"))
    except Exception as error:
        attempt.fail(OcrvlError(f"{type(error).__name__}: {error}", "this is a fault of ocrvl: please report it"))
        raise
    finally:
        attempt.release()
    if stopped_by is not None and host.restarts:
        raise stopped_by
    return {"state": attempt.writer.record.state, "step": attempt.writer.record.step}


class _Attempt:
    """One attempt at a run: what it knows, and the steps that it takes."""

    def __init__(self, request: TrainRequest, host: Host) -> None:
        self.host = host
        self.places = request.places
        self.layout = RunLayout.of(request.places.outputs, request.name)
        self.resume_from = request.resume_from
        record = read_record(self.layout.record)
        if record is None:
            raise not_found(f"run '{request.name}' has no record", f"ocrvl train --name {request.name} --data FILE")
        self.writer = RecordWriter(self.layout.record, record, host.commit)
        self.recipe: TrainRecipe = parse_recipe(self.layout.recipe.read_bytes(), str(self.layout.recipe))
        self.plan = TrainPlan.model_validate_json(self.layout.plan.read_text(encoding="utf-8"))
        self.started = time.monotonic()
        self.spent_before = record.cost.seconds
        self.engine_lock: int | None = None
        # A store need not be a disk that knows locks.
        self.engine_files = RunLayout.of(host.own_disk, request.name) if host.own_disk else self.layout
        self._scratch = request.places.scratch / f"run-{request.name}"

    def work(self) -> None:
        """Take the run from where it stands to its end."""
        before = begin_attempt(self.writer, self.host)
        require_progress(self.layout.name, before)
        engine_lock = self.clear_the_place()
        model, member = self.find_model()
        self.check_what_only_this_machine_knows(model, member)
        start = self.go_back_to_start(before)
        last = start if start and start.step >= self.plan.max_steps else self.train(model, member, start, engine_lock)
        if last is not None:
            self.export(model, member, last)

    def clear_the_place(self) -> int:
        """End what an earlier attempt left running, and remove what it left half-written."""
        self.engine_lock = engine_lock = end_leftover_engine(
            self.engine_files.engine_lock, self.engine_files.engine_group
        )
        for folder in (self.layout.root, self.layout.checkpoints):
            files.remove_leftovers(folder)
        self.layout.checkpoints.mkdir(parents=True, exist_ok=True)
        files.write_bytes(self.layout.reserve, bytes(_RESERVE_BYTES))
        return engine_lock

    def find_model(self) -> tuple[Path, FamilyMember]:
        """Return the base model's folder and family member."""
        folder = model_folder(self.places, self.recipe.model.name)
        return folder, member_of(self.recipe.model.name, folder, self.recipe.model.family)

    def check_what_only_this_machine_knows(self, model: Path, member: FamilyMember) -> None:
        """Check prompt identity, the dataset's digest and the disk, before the engine starts."""
        pieces = get_engine(self.recipe.engine).sample_pieces
        check_prompt_identity(model, member, [*member.prompts.values(), *self.recipe.data.extra_prompts], pieces)
        dataset = self.writer.record.dataset
        again = f"`ocrvl train --name {self.layout.name}`"
        if digest_of(self.places, dataset, again) != self.writer.record.dataset_sha256:
            raise data_error(
                f"{dataset} is not what it was when this run was submitted",
                "put the earlier dataset back, or train under another --name",
            )
        if self.host.own_disk is None:
            self.require_room()

    def require_room(self) -> None:
        """Raise where the disk has too little room; the plan counts kept checkpoints, some of which may be here."""
        needed = self.plan.disk_bytes - files.size_of_tree(self.layout.checkpoints)
        free = files.free_bytes(self.layout.root)
        if free < needed:
            raise OcrvlError(
                f"the disk is too full: checkpoints and export need {_gib(needed)}, {_gib(free)} are free",
                f"free some space, then run `ocrvl train --name {self.layout.name}`; fewer kept checkpoints need less:"
                " --set checkpoint.save_total_limit=1",
            )

    def go_back_to_start(self, before: Sequence[Attempt]) -> Checkpoint | None:
        """Choose where to go on, and make metrics and record end there; ``None`` is the base model.

        A checkpoint that the user asked for counts until an earlier attempt of this call has begun there.
        """
        begun = any(attempt.resumed_from_step is not None for attempt in before)
        asked = None if begun else self.resume_from
        start = choose_checkpoint(self.layout, self.places, asked, self.writer.record.resumed_from)
        step = start.step if start else 0
        for log in (self.layout.metrics, self.layout.evaluations):
            MetricsLog(log).rewind(step)
        self.writer.update_attempt(resumed_from_step=start.step if start else None)
        self.writer.update(step=step)
        return start

    def train(self, model: Path, member: FamilyMember, start: Checkpoint | None, engine_lock: int) -> Checkpoint | None:
        """Run the engine; return the last checkpoint when training is finished, ``None`` when the attempt ended."""
        job = self._engine_job(model, member, start)
        engine = get_engine(self.recipe.engine)
        config = engine.write_config(job)
        environment = {
            **environment_for_engine(os.environ, self._allowed_variables()),
            **engine.environment(job),
        }
        redact = Redactor(os.environ, self._allowed_variables())
        supervisor = Supervisor(
            engine, job, self.layout, self.writer, redact, self._deadline(), self._cost, self.host.commit
        )
        stops: tuple[type[BaseException], ...] = (KeyboardInterrupt, *self.host.cancellations)
        self.writer.move_to("training")
        process = EngineProcess(
            engine.command(job, config),
            environment,
            engine.working_folder(job),
            self.engine_files.engine_group,
            engine_lock,
        )
        try:
            ending = supervisor.watch(process)
        except stops:
            supervisor.stop(process)
            raise
        except BaseException:
            process.kill()
            process.wait()
            raise
        return self._judge(ending, past_deadline=supervisor.past_deadline)

    def _engine_job(self, model: Path, member: FamilyMember, start: Checkpoint | None) -> EngineJob:
        validation = self.recipe.data.validation
        attempt = self.layout.attempt(len(self.writer.record.attempts))
        attempt.root.mkdir(parents=True, exist_ok=True)
        return EngineJob(
            recipe=self.recipe,
            member=member,
            model=model,
            train=localized(self.places, str(self.recipe.data.train), fetch=self.host.fetch),
            validation=localized(self.places, validation, fetch=self.host.fetch) if validation else None,
            max_steps=self.plan.max_steps,
            warmup_steps=self.plan.warmup_steps,
            attempt=attempt,
            checkpoints=self.layout.checkpoints,
            resume_from=start.path if start else None,
            scratch=self._fresh_scratch(),
        )

    def _allowed_variables(self) -> Collection[str]:
        """Return the names of secrets that the engine may see."""
        if not self.host.gives_secrets:
            return self.recipe.secrets
        return given_variables(os.environ) if self.recipe.secrets else ()

    def _fresh_scratch(self) -> Path:
        folder = self._scratch
        files.remove_folder(folder)
        folder.mkdir(parents=True)
        return folder

    def _deadline(self) -> float | None:
        """Return the moment on the monotonic clock at which the run's limits, or its host's, are used up."""
        lefts = []
        if self.plan.deadline_s is not None:
            lefts.append(self.plan.deadline_s - self.spent_before)
            if lefts[0] <= 0:
                raise OcrvlError(
                    f"the limits of run '{self.layout.name}' are used up",
                    f"ocrvl train --name {self.layout.name} --set limits.timeout_hours=null"
                    " --set limits.max_cost_usd=N, or more of what was given",
                )
        if self.host.longest_s is not None:
            lefts.append(self.host.longest_s)
        return self.started + min(lefts) if lefts else None

    @property
    def _host_time_is_up(self) -> bool:
        return self.host.longest_s is not None and time.monotonic() - self.started > self.host.longest_s

    def _judge(self, ending: Ending, *, past_deadline: bool) -> Checkpoint | None:
        """Say what an engine's end means for the run: with its last checkpoint there, training is finished."""
        complete = checkpoints.complete_checkpoints(self.layout)
        reached = complete[-1].step if complete else 0
        if reached >= self.plan.max_steps:
            return complete[-1]
        if ending.is_stuck and ending.error is not None:
            raise ending.error
        if past_deadline and self._host_time_is_up:
            raise HostTimeIsUp("its host's time for one attempt is over")
        if past_deadline:
            self.end("interrupted", "its time or money is used up")
            return None
        if ending.code == STOPPED_EXIT_CODE:
            self.end("interrupted", "its engine was asked to stop")
            return None
        if ending.error is None or ending.code == 0:
            raise OcrvlError(
                f"the engine ended well, but its last checkpoint is at step {reached} of {self.plan.max_steps}",
                f"ocrvl runs logs {self.layout.name}",
            )
        if ending.code < 0:
            self.end("interrupted", ending.error.message)
            return None
        raise ending.error

    def export(self, model: Path, member: FamilyMember, last: Checkpoint) -> None:
        """Build the export, prove that it loads, put it where the recipe wants it, and finish the run."""
        self.writer.move_to("exporting", step=last.step)
        export_model(
            checkpoint=last.path,
            base=model,
            method=self.recipe.method,
            member=member,
            out=self.layout.export,
            pixels=member.pixels.within(self.recipe.pixels.minimum, self.recipe.pixels.maximum),
        )
        if self.recipe.output_dir:
            self._copy_export_to(self.places.resolve(self.recipe.output_dir))
        self.end("done", "")

    def _copy_export_to(self, folder: Path) -> None:
        """Copy the export; a model that we put there before is replaced, anything else is not."""
        is_ours = (folder / FAMILY_FILE).is_file()
        if not is_ours and not files.is_vacant(folder):
            raise usage_error(
                f"{folder} is there, and not empty: the finished model was not put into it",
                f"ocrvl volume get /outputs/{self.layout.name}/export DIRECTORY",
            )
        with files.new_folder(folder) as beside:
            shutil.copytree(self.layout.export, beside, dirs_exist_ok=True)

    def end(self, state: State, reason: str, error: ErrorNote | None = None) -> None:
        """End the attempt, and with it the run for now. The room kept in reserve is given back first.

        A signal may come when the end is written already; it stands.
        """
        self.layout.reserve.unlink(missing_ok=True)
        if self.writer.record.state not in ACTIVE:
            return
        self.writer.end_attempt(state, reason, error=error, cost=self._cost())

    def fail(self, error: OcrvlError) -> None:
        """End the attempt with an error that stays in the record."""
        self.end("failed", error.message, ErrorNote(**error.to_dict()))

    def release(self) -> None:
        """Let go of the engine's lock and scratch: this process may go on, and work on the run again."""
        files.remove_folder(self._scratch)
        if self.engine_lock is not None:
            os.close(self.engine_lock)
            self.engine_lock = None

    def _cost(self) -> Cost:
        seconds = self.spent_before + time.monotonic() - self.started
        usd = self.plan.price_usd_per_hour * Decimal(seconds) / 3600
        return Cost(gpu=self.recipe.hardware.gpu, seconds=round(seconds, 3), usd=round(usd, 4))


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
