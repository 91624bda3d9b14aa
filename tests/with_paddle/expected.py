"""What our own engine computes from the same samples and weights: the standard that PaddleFormers is held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.engines.trainer.batches import collate
from ocrvl_modal.engines.trainer.config import TrainerConfig, read_config
from ocrvl_modal.engines.trainer.samples import Encoded, SampleEncoder, SampleSet
from ocrvl_modal.engines.transformers import TransformersEngine


def trainer_config(job: EngineJob) -> TrainerConfig:
    """Return the configuration with which our own engine would do the job."""
    return read_config(TransformersEngine().write_config(job))


def encoded(job: EngineJob, rows: Path) -> Sequence[Encoded]:
    """Return a file's samples as our own engine encodes them."""
    samples = SampleSet(rows, SampleEncoder(trainer_config(job)))
    return [samples[index] for index in range(len(samples))]


def loss_of(model: Path, job: EngineJob, rows: Path) -> float:
    """Return the mean loss of a model over all target tokens of a file."""
    import torch

    from ocrvl_modal.engines.reader import load_model
    from ocrvl_modal.engines.trainer.model import LossModel

    items = encoded(job, rows)
    targets = sum(len(item.tokens) - item.prompt_length for item in items)
    with torch.no_grad():
        return float(LossModel(load_model(model, torch.float32))(collate(items))) / targets
