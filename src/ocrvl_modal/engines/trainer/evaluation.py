"""The loss on the validation samples: the mean over all their target tokens."""

from __future__ import annotations

from typing import Any

import torch

from ocrvl_modal.engines.trainer.batches import batches
from ocrvl_modal.engines.trainer.devices import Arithmetic, Processes
from ocrvl_modal.engines.trainer.order import MicroBatch
from ocrvl_modal.engines.trainer.samples import SampleSet
from ocrvl_modal.engines.trainer.stopping import StopRequest
from ocrvl_modal.recipe_schema import BatchPart


class Evaluation:
    """The validation samples, cut into batches of like length and dealt out to the processes."""

    def __init__(self, samples: SampleSet, batch: BatchPart, processes: Processes, arithmetic: Arithmetic) -> None:
        self._samples = samples
        self._num_workers = batch.num_workers
        self._processes = processes
        self._arithmetic = arithmetic
        size = batch.per_device_evaluation or batch.per_device
        order = sorted(range(len(samples)), key=lambda index: -samples.lengths[index])
        cut: list[MicroBatch] = [order[start : start + size] for start in range(0, len(order), size)]
        self._share = cut[processes.rank :: processes.world_size]

    def loss(self, loss_model: Any, stop: StopRequest) -> float | None:
        """Return the loss that ``loss_model`` has now, and leave it in training.

        It must not be the module that processes share: they have different numbers of batches here. Returns ``None``
        where a process that is alone is asked to stop; several would have to agree on it.
        """
        loss_model.eval()
        total, stopped = 0.0, False
        with torch.no_grad(), self._arithmetic.context():
            for batch in batches(self._samples, iter(self._share), self._num_workers, self._processes.device):
                stopped = stop.requested and self._processes.world_size == 1
                if stopped:
                    break
                total += float(loss_model(batch))
        loss_model.train()
        if stopped:
            return None
        return self._processes.sum([total])[0] / sum(self._samples.target_lengths)
