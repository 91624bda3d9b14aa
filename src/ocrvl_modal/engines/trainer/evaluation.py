"""The loss on the validation samples: the mean over all their target tokens."""

from __future__ import annotations

from typing import Any

import torch

from ocrvl_modal.engines.trainer.batches import collate
from ocrvl_modal.engines.trainer.devices import Arithmetic, Processes
from ocrvl_modal.engines.trainer.order import MicroBatch
from ocrvl_modal.engines.trainer.samples import SampleSet


class Evaluation:
    """The validation samples, cut into batches of like length and dealt out to the processes."""

    def __init__(self, samples: SampleSet, batch_size: int, processes: Processes, arithmetic: Arithmetic) -> None:
        self._samples = samples
        self._processes = processes
        self._arithmetic = arithmetic
        order = sorted(range(len(samples)), key=lambda index: -samples.lengths[index])
        cut: list[MicroBatch] = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._share = cut[processes.rank :: processes.world_size]

    def loss(self, loss_model: Any) -> float:
        """Return the loss that ``loss_model`` has now, and leave it in training.

        It must not be the module that processes share: they have different numbers of batches here.
        """
        loss_model.eval()
        total = 0.0
        with torch.no_grad(), self._arithmetic.context():
            for micro_batch in self._share:
                batch = collate([self._samples[index] for index in micro_batch]).to(self._processes.device)
                total += float(loss_model(batch))
        loss_model.train()
        return self._processes.sum([total])[0] / sum(self._samples.target_lengths)
