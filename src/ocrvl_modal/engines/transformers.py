"""The engine on torch and transformers: our own loop, which any model of the family can be trained by, anywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ocrvl_modal.engines.base import (
    CheckpointSaved,
    EngineEvent,
    EngineFailed,
    EngineJob,
    EvaluationLogged,
    StepLogged,
)
from ocrvl_modal.engines.processes import count_processes, threads_of_each
from ocrvl_modal.engines.prompt_identity import own_pieces
from ocrvl_modal.engines.trainer import lines
from ocrvl_modal.engines.trainer.config import PROMPT, PixelsConfig, ScheduleConfig, TrainerConfig, write_config
from ocrvl_modal.engines.trainer.stopping import SUPERVISOR_VARIABLE
from ocrvl_modal.errors import usage_error
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.recipes import TrainRecipe


class TransformersEngine:
    """See :class:`ocrvl_modal.engines.base.Engine`."""

    name = "transformers"

    def check(self, recipe: TrainRecipe, member: FamilyMember) -> tuple[str, ...]:  # noqa: ARG002 - it trains all
        """Return nothing: every key of a recipe is obeyed but one, which is refused."""
        if recipe.data.augmentation:
            raise usage_error("the transformers engine trains on images as they are", "--set data.augmentation=false")
        return ()

    def sample_pieces(self, member: FamilyMember, prompt: str, target: str) -> tuple[str, ...]:
        """Return what the trainer encodes: the prompt of the family, the target and its end."""
        return own_pieces(member, prompt, target)

    def write_config(self, job: EngineJob) -> Path:
        """Write ``engine.yaml`` with every value resolved."""
        write_config(_config(job), job.attempt.engine_config)
        return job.attempt.engine_config

    def command(self, job: EngineJob, config: Path) -> list[str]:  # noqa: ARG002 - the configuration says it all
        """Return the trainer's command; it starts one process a device by itself."""
        return [sys.executable, "-m", "ocrvl_modal.engines.trainer", str(config)]

    def environment(self, job: EngineJob) -> dict[str, str]:
        """Return variables that keep libraries quiet, offline, and from taking more threads than they should."""
        threads = str(threads_of_each(job, count_processes(job.recipe)))
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            SUPERVISOR_VARIABLE: str(os.getpid()),
        }

    def working_folder(self, job: EngineJob) -> Path:
        """Return the attempt's folder; the trainer writes nothing into it by itself."""
        return job.attempt.root

    def read_line(self, line: str, job: EngineJob) -> tuple[EngineEvent, ...]:
        """Return the event that a line of the trainer's output tells."""
        if (step := lines.parse_saved(line)) is not None:
            return (CheckpointSaved(step, job.checkpoints / f"checkpoint-{step}"),)
        if error := lines.parse_error(line):
            return (EngineFailed(error),)
        values = lines.parse_values(line)
        if not values or "global_step" not in values:
            return ()
        step = int(values.pop("global_step"))
        if "eval_loss" in values:
            return (EvaluationLogged(step, values["eval_loss"]),)
        if "loss" in values and "learning_rate" in values:
            return (StepLogged(step, values.pop("loss"), values.pop("learning_rate"), values),)
        return ()

    def at_end(self, code: int, job: EngineJob) -> tuple[EngineEvent, ...]:  # noqa: ARG002 - the lines say it all
        """Return nothing."""
        return ()


def _config(job: EngineJob) -> TrainerConfig:
    recipe = job.recipe
    limits = job.member.pixels.within(recipe.pixels.minimum, recipe.pixels.maximum)
    num_processes = count_processes(job.recipe)
    return TrainerConfig(
        model=job.model.absolute(),
        resume_from=job.resume_from and job.resume_from.absolute(),
        checkpoints=job.checkpoints.absolute(),
        train=job.train.absolute(),
        validation=job.validation and job.validation.absolute(),
        prompt_template=job.member.render_prompt(PROMPT),
        max_seq_len=recipe.data.max_seq_len,
        pixels=PixelsConfig(minimum=limits.minimum, maximum=limits.maximum),
        method=recipe.method,
        lora=recipe.lora.model_copy(update={"alpha": recipe.lora_alpha}),
        optimizer=recipe.optimizer,
        schedule=ScheduleConfig(
            kind=recipe.schedule.kind,
            max_steps=job.max_steps,
            warmup_steps=job.warmup_steps,
            min_learning_rate_ratio=recipe.schedule.min_learning_rate_ratio,
        ),
        batch=recipe.batch,
        precision=recipe.precision,
        gradient_checkpointing=recipe.gradient_checkpointing,
        seed=recipe.seed,
        log_steps=recipe.tracking.log_steps,
        save_steps=recipe.checkpoint.save_steps,
        eval_steps=recipe.evaluation.eval_steps,
        num_processes=num_processes,
        threads=threads_of_each(job, num_processes),
    )
