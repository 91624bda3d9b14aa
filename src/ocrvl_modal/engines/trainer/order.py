"""Which samples make which step: a pure function of the seed, the step and the samples' lengths.

The stream of samples is one permutation of the dataset after another. A step takes the next ``samples_per_step`` of
it, whatever the number of processes, so a run that goes on at step n needs nothing but n.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

WINDOW_STEPS = 32
"""Samples are sorted by length within so many steps: enough for batches of like length, few enough to stay mixed."""

MicroBatch = list[int]


class DataOrder:
    """The samples of every step, by their numbers in the dataset.

    ``per_device`` samples make a micro-batch and ``micro_batches`` of them, over all processes, a step.
    """

    def __init__(
        self, lengths: Sequence[int], *, seed: int, per_device: int, micro_batches: int, group_by_length: bool
    ) -> None:
        self._lengths = lengths
        self._seed = seed
        self._per_device = per_device
        self._micro_batches = micro_batches
        self._group_by_length = group_by_length
        self._samples_per_step = per_device * micro_batches
        # A window never holds more than one pass over the data, or a batch could be one sample many times.
        self._window_steps = max(1, min(WINDOW_STEPS, len(lengths) // self._samples_per_step))
        self._permutation = lru_cache(maxsize=2)(self._shuffle)
        self._window = lru_cache(maxsize=1)(self._arrange)

    def step(self, step: int) -> list[MicroBatch]:
        """Return the micro-batches of ``step``, which counts from 1, longest first."""
        window, place = divmod(step - 1, self._window_steps)
        arranged = self._window(window)
        chosen = arranged[place * self._micro_batches : (place + 1) * self._micro_batches]
        return sorted(chosen, key=self._longest, reverse=True) if self._group_by_length else chosen

    def share(self, step: int, rank: int, world_size: int) -> list[MicroBatch]:
        """Return the micro-batches of ``step`` that one process computes.

        Dealt out like cards, longest first, so that processes wait little for each other.
        """
        return self.step(step)[rank::world_size]

    def _arrange(self, window: int) -> list[MicroBatch]:
        count = self._window_steps * self._samples_per_step
        samples = [self._at(window * count + offset) for offset in range(count)]
        if self._group_by_length:
            samples.sort(key=lambda sample: self._lengths[sample])
        batches = [samples[start : start + self._per_device] for start in range(0, count, self._per_device)]
        if self._group_by_length:
            random.Random(f"batches-{self._seed}-{window}").shuffle(batches)
        return batches

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, len(self._lengths))
        return self._permutation(epoch)[place]

    def _shuffle(self, epoch: int) -> list[int]:
        samples = list(range(len(self._lengths)))
        random.Random(f"samples-{self._seed}-{epoch}").shuffle(samples)
        return samples

    def _longest(self, batch: MicroBatch) -> int:
        return max(self._lengths[sample] for sample in batch)
