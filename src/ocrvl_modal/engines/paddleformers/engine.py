"""What PaddleFormers is to the supervisor: its configuration, its command and its lines."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import yaml

from ocrvl_modal import files
from ocrvl_modal.engines.base import (
    CheckpointSaved,
    EngineEvent,
    EngineFailed,
    EngineJob,
    EvaluationLogged,
    StepLogged,
)
from ocrvl_modal.engines.paddleformers import lines, names
from ocrvl_modal.engines.paddleformers.config import Machine, engine_config
from ocrvl_modal.engines.paddleformers.folders import copy_model, write_rows
from ocrvl_modal.engines.paddleformers.slots import slots
from ocrvl_modal.engines.processes import count_processes, threads_of_each
from ocrvl_modal.engines.trainer.stopping import SUPERVISOR_VARIABLE
from ocrvl_modal.errors import usage_error
from ocrvl_modal.gpus import visible_gpus
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.recipes import TrainRecipe
from ocrvl_modal.runs.layout import checkpoint_step

TRAIN = ("-u", "-m", "paddleformers.cli.launcher", "train")
"""What Python is told in order to train; a configuration follows."""

_LARGEST_SEED = 2**31
_LAUNCH = ["-m", "ocrvl_modal.engines.paddleformers.launch"]


class PaddleFormersEngine:
    """See :class:`ocrvl_modal.engines.base.Engine`."""

    name = "paddleformers"

    def __init__(self) -> None:
        self._step = 0

    def check(self, recipe: TrainRecipe, member: FamilyMember) -> tuple[str, ...]:  # noqa: ARG002 - it trains them all
        """Refuse what PaddleFormers has no key for, and tell what it leaves out."""
        if not 1 <= recipe.seed <= _LARGEST_SEED:
            raise usage_error(f"PaddleFormers takes seeds from 1 to {_LARGEST_SEED}", "--set seed=23")
        if recipe.method != "lora":
            return ()
        if recipe.lora_alpha != 2 * recipe.lora.rank:
            raise usage_error(
                "PaddleFormers scales every adapter by twice its rank, whatever lora.alpha says",
                f"--set lora.alpha={2 * recipe.lora.rank}, or --engine transformers",
            )
        if recipe.lora.dropout:
            raise usage_error(
                "PaddleFormers trains adapters without dropout", "--set lora.dropout=0, or --engine transformers"
            )
        if recipe.data.validation:
            return (
                "no evaluation loss while it trains: PaddleFormers 1.2.0 fails when it evaluates an adapter"
                " (`ocrvl eval` scores the finished model)",
            )
        return ()

    def sample_pieces(self, member: FamilyMember, prompt: str, target: str) -> tuple[str, ...]:
        """Return the slots of the template that its processes are given, filled in."""
        return slots(member.assistant_tail).pieces(prompt, target)

    def write_config(self, job: EngineJob) -> Path:
        """Write ``engine.yaml``, and put a copy of model and data where PaddleFormers may write and find them."""
        machine = Machine(num_gpus=len(visible_gpus()))
        copy_model(job, names.model(job), on_cpu=not machine.num_gpus)
        write_rows(job.train, names.train(job))
        if job.validation:
            write_rows(job.validation, names.validation(job))
        config = yaml.safe_dump(engine_config(job, machine), sort_keys=False, allow_unicode=True)
        files.write_text(job.attempt.engine_config, config)
        return job.attempt.engine_config

    def command(self, job: EngineJob, config: Path) -> list[str]:
        """Return the command of one process, or of our own launcher where there are several."""
        count = count_processes(job.recipe)
        if count == 1:
            return [sys.executable, *TRAIN, str(config.absolute())]
        return [
            sys.executable,
            *_LAUNCH,
            str(count),
            str(job.worker_logs.absolute()),
            sys.executable,
            *TRAIN,
            str(config.absolute()),
        ]

    def environment(self, job: EngineJob) -> dict[str, str]:
        """Return what PaddleFormers' own command sets, what our registered file reads, and a quiet log."""
        variables = {
            "PYTHONPATH": os.pathsep.join(filter(None, [*import_paths(), os.environ.get("PYTHONPATH", "")])),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(threads_of_each(job, count_processes(job.recipe))),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "FLAGS_set_to_1d": "False",
            "FLAGS_dataloader_use_file_descriptor": "False",
            "NVIDIA_TF32_OVERRIDE": "0",
            "IMAGE_PLACEHOLDER": names.IMAGE_MARK,
            "VIDEO_PLACEHOLDER": names.VIDEO_MARK,
            "AUDIO_PLACEHOLDER": names.AUDIO_MARK,
            names.LORA_TARGETS_VARIABLE: job.recipe.lora.targets,
            names.USED_BATCHES_VARIABLE: str(_used_batches(job)),
            names.BATCH_SAMPLES_VARIABLE: str(job.recipe.batch.per_device * count_processes(job.recipe)),
            SUPERVISOR_VARIABLE: str(os.getpid()),
        }
        return variables if visible_gpus() else {**variables, "CUDA_VISIBLE_DEVICES": ""}

    def working_folder(self, job: EngineJob) -> Path:
        """Return the scratch folder: PaddleFormers reads the data by a relative path, and leaves files behind."""
        return job.scratch

    def read_line(self, line: str, job: EngineJob) -> tuple[EngineEvent, ...]:
        """Return the event that a line tells; an evaluation line names no step, so it belongs to the last that did."""
        read = lines.read(line)
        if isinstance(read, lines.Saved):
            return (CheckpointSaved(read.step, job.checkpoints / f"checkpoint-{read.step}"),)
        if isinstance(read, (lines.Failure, lines.Told)):
            return (EngineFailed(read.error(job.recipe)),)
        if isinstance(read, StepLogged):
            self._step = read.step
            return (read,)
        if isinstance(read, lines.Evaluation) and self._step:
            return (EvaluationLogged(self._step, read.loss),)
        return ()

    def at_end(self, code: int, job: EngineJob) -> tuple[EngineEvent, ...]:  # noqa: ARG002 - the lines say it all
        """Return nothing."""
        return ()


def import_paths() -> list[str]:
    """Return where PaddleFormers' processes find this package, and a stand-in for triton where there is none.

    PaddleFormers imports triton without asking for it; on a CPU nothing of it is called.
    """
    package = Path(__file__).resolve().parents[3]
    stand_in = Path(__file__).resolve().parent / "without_triton"
    return [str(package)] if importlib.util.find_spec("triton") else [str(stand_in), str(package)]


def _used_batches(job: EngineJob) -> int:
    """Return how many batches each process has trained on before the checkpoint that it resumes from."""
    step = checkpoint_step(job.resume_from) if job.resume_from else None
    return (step or 0) * job.recipe.batch.gradient_accumulation
