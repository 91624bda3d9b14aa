"""Several encoded samples as the tensors of one forward pass, prepared here or by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ocrvl_modal.engines.trainer.order import MicroBatch
from ocrvl_modal.engines.trainer.samples import Encoded, SampleSet
from ocrvl_modal.errors import OcrvlError


@dataclass(frozen=True)
class Batch:
    """The tensors of one forward pass.

    ``predicting`` are the places, in all rows laid end to end, whose next token is one to learn; ``targets`` are those
    tokens. Rows are padded on the right, where causal attention lets no real token see it, so there is no mask.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    pixels: torch.Tensor
    grid: torch.Tensor
    predicting: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU copies from fast; the name is what DataLoader calls."""
        return Batch(**{name: tensor.pin_memory() for name, tensor in vars(self).items()})


def collate(items: Sequence[Encoded]) -> Batch:
    """Lay samples into one batch."""
    longest = max(len(item.tokens) for item in items)
    tokens = torch.zeros(len(items), longest, dtype=torch.long)
    positions = torch.zeros(3, len(items), longest, dtype=torch.long)
    predicting, targets = [], []
    for row, item in enumerate(items):
        length = len(item.tokens)
        tokens[row, :length] = item.tokens
        positions[:, row, :length] = item.positions
        start = row * longest
        predicting.append(torch.arange(start + item.prompt_length - 1, start + length - 1))
        targets.append(item.tokens[item.prompt_length :])
    return Batch(
        tokens=tokens,
        positions=positions,
        pixels=torch.cat([item.pixels for item in items]),
        grid=torch.cat([item.grid for item in items]),
        predicting=torch.cat(predicting),
        targets=torch.cat(targets),
    )


def batches(samples: SampleSet, order: Iterator[MicroBatch], num_workers: int, device: torch.device) -> Iterator[Batch]:
    """Yield the batch of each micro-batch in ``order``, on the device."""
    if not num_workers:
        for micro_batch in order:
            yield collate([samples[index] for index in micro_batch]).to(device)
        return
    loader: Any = torch.utils.data.DataLoader(
        _MicroBatches(samples),
        batch_size=None,
        sampler=_Sequence(order),
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_ignore_signals,
        # Its own generator, because it would draw from the one that decides dropout.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, OcrvlError):
            raise batch
        yield batch.to(device)


class _Sequence:
    """An iterator under the name that DataLoader asks for."""

    def __init__(self, order: Iterator[MicroBatch]) -> None:
        self._order = order

    def __iter__(self) -> Iterator[MicroBatch]:
        return self._order


class _MicroBatches:
    """What a worker process computes: a batch, or the error of it, which DataLoader would rewrite if it were raised."""

    def __init__(self, samples: SampleSet) -> None:
        self._samples = samples

    def __getitem__(self, micro_batch: MicroBatch) -> Batch | OcrvlError:
        try:
            return collate([self._samples[index] for index in micro_batch])
        except OcrvlError as error:
            return error


def _ignore_signals(_worker: int) -> None:
    """Leave it to the trainer to end its workers: a signal reaches the whole group, and it still needs them."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
