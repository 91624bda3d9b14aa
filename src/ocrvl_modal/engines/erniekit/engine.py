"""What the supervisor asks of ERNIEKit: its command, its environment, its lines, and its last model."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ocrvl_modal import files
from ocrvl_modal.engines.base import CheckpointSaved, EngineEvent, EngineFailed, EngineJob
from ocrvl_modal.engines.erniekit import lines, workspace
from ocrvl_modal.engines.erniekit.keys import OFFICIAL_CONFIG, check_config, overrides
from ocrvl_modal.engines.process_group import free_port
from ocrvl_modal.errors import OcrvlError, usage_error
from ocrvl_modal.gpus import visible_gpus
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.recipes import TrainRecipe, dump_value
from ocrvl_modal.runs.checkpoints import COMPLETE
from ocrvl_modal.runs.layout import checkpoint_step

_USER_CONFIG = "erniekit.yaml"
_STATE = "trainer_state.json"
# From ERNIE's chat template for this stage; no key of its configuration changes it.
_QUESTION = "<|begin_of_sentence|>User: <|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>{prompt}\nAssistant: "
_END = "</s>"
_KILLED = 256 - 9
"""Exit code of Paddle's launcher when the system killed a worker: -9, as a shell sees it."""

# Variables by which an outer job system would have ERNIEKit resume elsewhere.
_MUST_NOT_BE_SET = ("PDC_INIT_STEP", "FLAG_LLM_PDC")


class ErnieKitEngine:
    """See :class:`ocrvl_modal.engines.base.Engine`."""

    name = "erniekit"

    def __init__(self) -> None:
        self._step = 0
        self._saved: set[int] = set()

    def check(self, recipe: TrainRecipe, member: FamilyMember) -> tuple[str, ...]:  # noqa: ARG002 - models.py knows
        """Return what is left out; raise for a schedule, a precision or a configuration that ERNIEKit does not have."""
        if recipe.schedule.kind == "linear":
            raise usage_error("ERNIEKit has no linear schedule for this model", "--set schedule.kind=cosine")
        if recipe.precision == "float32":
            raise usage_error("ERNIEKit trains in bf16 only", "--set precision=auto, or --engine transformers")
        warnings = check_config(recipe)
        if not recipe.data.augmentation:
            warnings += (
                "ERNIEKit varies the images while training (size, padding, colour): data.augmentation cannot turn that"
                " off",
            )
        if recipe.data.validation:
            warnings += (
                "ERNIEKit computes no evaluation loss while training: data.validation is checked, and left at that",
            )
        return warnings

    def sample_pieces(self, member: FamilyMember, prompt: str, target: str) -> tuple[str, ...]:  # noqa: ARG002
        """Return the form that ERNIEKit writes for every model, which is that of 0.9B."""
        return _QUESTION.format(prompt=prompt), target, _END

    def write_config(self, job: EngineJob) -> Path:
        """Put model and dataset into ERNIE's tree; write ``engine.yaml``, which repeats the command.

        The path that is returned is the configuration that ERNIEKit reads: the documented one of its tree, or the
        user's own.
        """
        home = workspace.ernie_home()
        workspace.require_installation(home)
        _require_gpus(job.recipe.hardware.num_processes or 1)
        workspace.clear_output(job.checkpoints)
        config = self._own_config(job) or Path(OFFICIAL_CONFIG)
        told = {
            "model_name_or_path": workspace.place_model(job, home),
            "train_dataset_path": workspace.place_dataset(job, home),
            "train_dataset_prob": "1.0",
            "train_dataset_type": "erniekit",
            **overrides(job.recipe, job.max_steps, job.warmup_steps),
            "output_dir": str(job.checkpoints.absolute()),
            "logging_dir": str((job.attempt.root / "tensorboard").absolute()),
        }
        if job.resume_from:
            told["resume_from_checkpoint"] = str(job.resume_from.absolute())
        record = {
            "working_folder": str(home),
            "configuration": str(config),
            "configuration_sha256": files.sha256_of(home / config),
            "overrides": told,
            "command": shlex.join(_command(config, told)),
        }
        files.write_text(job.attempt.engine_config, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
        return config

    def command(self, job: EngineJob, config: Path) -> list[str]:
        """Return the documented command with the recipe's values after it."""
        record = yaml.safe_load(job.attempt.engine_config.read_text(encoding="utf-8"))
        unset = [f"-u{name}" for name in _MUST_NOT_BE_SET if name in os.environ]
        return [*(["env", *unset] if unset else []), *_command(config, record["overrides"])]

    def environment(self, job: EngineJob) -> dict[str, str]:
        """Return the devices, where workers log, and a port of our own: the default one, 8080, is often taken."""
        count = job.recipe.hardware.num_processes
        return {
            "CUDA_VISIBLE_DEVICES": ",".join(_devices()[:count]),
            "ERNIEKIT_DIST_LOG": shlex.quote(str(job.worker_logs.absolute())),
            "NNODES": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "PYTHONUNBUFFERED": "1",
            # ERNIEKit opens datasets in the locale's encoding.
            "PYTHONUTF8": "1",
            "NO_COLOR": "1",
            **({"OMP_NUM_THREADS": str(job.recipe.hardware.threads)} if job.recipe.hardware.threads else {}),
        }

    def working_folder(self, job: EngineJob) -> Path:  # noqa: ARG002 - the same for all
        """Return ERNIE's source tree, in which the documented command is run."""
        return workspace.ernie_home()

    def read_line(self, line: str, job: EngineJob) -> tuple[EngineEvent, ...]:
        """Return the step or checkpoint that a line tells.

        A checkpoint is complete when the line after its saving says so, or when a later step is logged: saving happens
        between two steps, in the trainer's own thread, and the processes wait for each other behind it. The launcher
        prints a failed worker's last lines once more, so steps that were told before are not told again.
        """
        if (step := lines.parse_step(line)) is not None:
            if step.step <= self._step:
                return ()
            self._step = step.step
            saved = tuple(self._newly_saved(job, below=step.step))
            return (*saved, step)
        if (number := lines.parse_saved(line)) is not None:
            return tuple(self._newly_saved(job, below=number + 1))
        if error := lines.parse_failure(line, workspace.run_name(job)):
            return (EngineFailed(error),)
        return ()

    def at_end(self, code: int, job: EngineJob) -> tuple[EngineEvent, ...]:
        """Make a checkpoint of the final model, which ERNIEKit writes beside the checkpoints.

        It saves a checkpoint at the last step only where ``save_steps`` divides it.
        """
        workspace.remove_links(job, workspace.ernie_home())
        if code == _KILLED:
            killed = "a training process was killed by the system, most likely for want of memory"
            return (EngineFailed(OcrvlError(killed, f"ocrvl train --name {workspace.run_name(job)} goes on")),)
        if code != 0:
            return ()
        self._keep_final_model(job)
        workspace.clear_output(job.checkpoints)
        return tuple(self._newly_saved(job, below=job.max_steps + 1))

    def _own_config(self, job: EngineJob) -> Path | None:
        """Write the user's configuration into the attempt's folder, where there is one."""
        if job.recipe.engine_config is None:
            return None
        path = (job.attempt.root / _USER_CONFIG).absolute()
        files.write_text(path, yaml.safe_dump(job.recipe.engine_config, sort_keys=False, allow_unicode=True))
        return path

    def _newly_saved(self, job: EngineJob, *, below: int) -> Iterator[CheckpointSaved]:
        """Yield the checkpoints of this attempt under a step that were not told of yet, oldest first."""
        start = checkpoint_step(job.resume_from) if job.resume_from else 0
        found = {checkpoint_step(folder): folder for folder in job.checkpoints.iterdir()}
        for step in sorted(step for step in found if step is not None and (start or 0) < step < below):
            if step not in self._saved and not (found[step] / COMPLETE).exists():
                self._saved.add(step)
                yield CheckpointSaved(step, found[step])

    def _keep_final_model(self, job: EngineJob) -> None:
        last = job.checkpoints / f"checkpoint-{job.max_steps}"
        final = [path for path in job.checkpoints.iterdir() if path.is_file()]
        is_whole = any(path.suffix == ".safetensors" for path in final)
        if last.exists() or not is_whole or _step_of(job.checkpoints / _STATE) != job.max_steps:
            return
        with files.new_folder(last) as beside:
            for path in final:
                path.replace(beside / path.name)


def _command(config: Path, told: dict[str, Any]) -> list[str]:
    return ["erniekit", "train", str(config), *(f"{key}={dump_value(value)}" for key, value in told.items())]


def _require_gpus(count: int) -> None:
    there = len(visible_gpus())
    if there < count:
        raise OcrvlError(
            f"ERNIEKit needs an NVIDIA GPU for each process: {count}, and this machine shows {there or 'none'}",
            "--backend modal --gpu L40S" if count == 1 else f"--set hardware.num_processes={there or 1}",
        )


def _devices() -> list[str]:
    """Return the visible GPUs as CUDA numbers them; without the variable, ERNIEKit may pass on an empty list."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(visible_gpus())
    return chosen.split(",")[:count] if chosen else [str(number) for number in range(count)]


def _step_of(state: Path) -> int | None:
    try:
        return int(json.loads(state.read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
