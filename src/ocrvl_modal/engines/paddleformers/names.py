"""Where the engine's files lie and what its processes are told by variables: known to both sides, heavy for neither."""

from __future__ import annotations

from pathlib import Path

from ocrvl_modal.engines.base import EngineJob

LORA_TARGETS_VARIABLE = "OCRVL_LORA_TARGETS"
"""Says to the registered file which layers an adapter adapts; PaddleFormers has no key for it that works."""

USED_BATCHES_VARIABLE, BATCH_SAMPLES_VARIABLE = "OCRVL_USED_BATCHES", "OCRVL_BATCH_SAMPLES"
"""Say to the registered file how many batches a checkpoint has behind it, and how many samples all processes read for
one."""

IMAGE_MARK, VIDEO_MARK, AUDIO_MARK = "<|ocrvl-image|>", "<|ocrvl-video|>", "<|ocrvl-audio|>"
"""Stand for media in a row, in place of ``<image>`` and the like, which a page may well have in its text."""


def template_name(tail: str, *, augmentation: bool) -> str:
    """Return the name under which the registered file registers a prompt's template."""
    name = "ocrvl_space" if tail.endswith(" ") else "ocrvl_newline"
    return f"{name}_augmented" if augmentation else name


def registered_file() -> Path:
    """Return the file that PaddleFormers is told to load into its processes."""
    return Path(__file__).resolve().parent / "registered.py"


def model(job: EngineJob) -> Path:
    """Return the folder of the model's copy, into which PaddleFormers writes."""
    return job.scratch / "model"


def train(job: EngineJob) -> Path:
    """Return the training rows."""
    return job.scratch / "train.jsonl"


def validation(job: EngineJob) -> Path:
    """Return the validation rows."""
    return job.scratch / "validation.jsonl"
