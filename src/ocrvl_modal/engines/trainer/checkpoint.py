"""Checkpoints of the trainer: whole when they get their name, and enough to go on exactly where they were made."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ocrvl_modal import files
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.engines.trainer.config import TrainerConfig
from ocrvl_modal.engines.trainer.model import save_model
from ocrvl_modal.errors import OcrvlError, usage_error

STATE_FILE = "trainer_state.pt"
FACTS_FILE = "training.json"

_SLACK_BYTES = 1 << 20


def facts_of(config: TrainerConfig, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what must be the same when a run goes on, by the names of the recipe.

    With another of these the weights would not fit, or the order of the samples would not continue: some would be
    learned twice and some never.
    """
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(json.dumps([sample.prompt, sample.target]).encode())
    facts: dict[str, Any] = {
        "method": config.method,
        "seed": config.seed,
        "batch.per_device": config.batch.per_device,
        "batch.group_by_length": config.batch.group_by_length,
        "samples_per_step": config.samples_per_step,
        "samples_sha256": digest.hexdigest(),
    }
    if config.method == "lora":
        lora = config.lora
        facts |= {"lora.rank": lora.rank, "lora.alpha": lora.alpha, "lora.targets": lora.targets}
    return facts


def save_checkpoint(
    config: TrainerConfig, step: int, model: Any, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> Path:
    """Write ``checkpoint-<step>``, in place of one that was left unfinished; raise an error where the disk is full."""
    folder = config.checkpoints / f"checkpoint-{step}"
    try:
        with files.new_folder(folder) as beside:
            save_model(model, config, beside)
            with (beside / STATE_FILE).open("wb") as stream:
                torch.save({"step": step, "optimizer": optimizer.state_dict()}, stream)
            files.write_json(beside / FACTS_FILE, {"schema": 1, "step": step, **facts})
            _flush(beside)
        files.flush(config.checkpoints)
    except Exception as error:
        if _is_disk_full(error):
            raise disk_full(config.checkpoints, checkpoint_bytes(model)) from error
        raise
    return folder


def check_facts(checkpoint: Path, facts: dict[str, Any]) -> None:
    """Raise a usage error where the run that made ``checkpoint`` differs in what must be the same."""
    try:
        saved = json.loads((checkpoint / FACTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise usage_error(f"{checkpoint} is not a checkpoint of this engine: {error}", "ocrvl runs ls") from error
    for key, value in facts.items():
        if saved.get(key) != value:
            raise _cannot_continue(checkpoint, key, saved.get(key), value)


def load_state(config: TrainerConfig, optimizer: torch.optim.Optimizer) -> int:
    """Restore the optimizer from ``config.resume_from`` and return the checkpoint's step; 0 where there is none."""
    if config.resume_from is None:
        return 0
    state = torch.load(config.resume_from / STATE_FILE, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def check_space(folder: Path, model: Any) -> None:
    """Raise an error where the first checkpoint would not fit on the disk, before anything is computed for it."""
    folder.mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(folder)
    # Some network file systems know no sizes and answer zero.
    if usage.total and usage.free < checkpoint_bytes(model):
        raise disk_full(folder, checkpoint_bytes(model))


def checkpoint_bytes(model: Any) -> int:
    """Return about how much a checkpoint takes: the trained weights, and twice as much for the optimizer."""
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return 3 * int(trained) + _SLACK_BYTES


def disk_full(folder: Path, needed: int) -> OcrvlError:
    """Return the error of a checkpoint that does not fit."""
    free = files.free_bytes(folder)
    return OcrvlError(
        f"the disk is full: a checkpoint needs about {_megabytes(needed)} in {folder}, and {_megabytes(free)} are free",
        "free some space and run the same command again: it goes on at the newest checkpoint",
    )


def _cannot_continue(checkpoint: Path, key: str, before: Any, now: Any) -> OcrvlError:
    anew = "begin a new run with another --name, from the export of this one where you like: --model /outputs/…/export"
    if key == "samples_sha256":
        return usage_error(f"{checkpoint.name} was made with other training samples, whose order cannot go on", anew)
    if key == "samples_per_step":
        mend = f"make batch.per_device x batch.gradient_accumulation x hardware.num_processes {before} again"
    else:
        mend = f"--set {key}={before}"
    return usage_error(f"{checkpoint.name} was made with {key} {before}, and now it is {now}", f"{mend}, or {anew}")


def _is_disk_full(error: BaseException) -> bool:
    """Say whether a failed write was for lack of space, through the libraries that wrap or hide the system's error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left on device" in str(error) or "os error 28" in str(error):
        return True
    # torch fails again, with other words, while it closes the file that it could not write.
    before = error.__cause__ or error.__context__
    return before is not None and _is_disk_full(before)


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        # safetensors lets nobody but the owner read.
        path.chmod(0o644)
        files.flush(path)
    files.flush(folder)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
