"""The training loop: one process's part of a run, from the loaded model to the last checkpoint."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch

from ocrvl_modal import files
from ocrvl_modal.engines.trainer import lines
from ocrvl_modal.engines.trainer.batches import Batch, batches
from ocrvl_modal.engines.trainer.checkpoint import check_facts, check_space, facts_of, load_state, save_checkpoint
from ocrvl_modal.engines.trainer.config import TrainerConfig
from ocrvl_modal.engines.trainer.devices import Arithmetic, Processes
from ocrvl_modal.engines.trainer.evaluation import Evaluation
from ocrvl_modal.engines.trainer.model import LossModel, build_model
from ocrvl_modal.engines.trainer.optimizer import build_optimizer, set_learning_rate
from ocrvl_modal.engines.trainer.order import DataOrder, MicroBatch
from ocrvl_modal.engines.trainer.samples import SampleEncoder, load_samples
from ocrvl_modal.engines.trainer.schedule import learning_rate
from ocrvl_modal.engines.trainer.stopping import StopRequest
from ocrvl_modal.errors import OcrvlError


def train(config: TrainerConfig, stop: StopRequest) -> bool:
    """Train to the last step and return ``True``, or ``False`` where it was asked to stop and has saved."""
    torch.set_num_threads(config.threads)
    processes = Processes.join(config)
    if processes.is_first:
        files.remove_leftovers(config.checkpoints)
    try:
        finished = _Trainer(config, processes, stop).run()
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(config) from error
    processes.leave()
    return finished


class _Trainer:
    def __init__(self, config: TrainerConfig, processes: Processes, stop: StopRequest) -> None:
        """Load all that is needed; raise an error for what a user can mend, before anything is computed."""
        self._config = config
        self._processes = processes
        self._stop = stop
        self._arithmetic = Arithmetic(config.precision, processes.device)
        encoder = SampleEncoder(config)
        self._samples = load_samples(config, encoder, config.train)
        self._evaluation = self._build_evaluation(encoder)
        self._facts = facts_of(config, self._samples.samples)
        if config.resume_from:
            check_facts(config.resume_from, self._facts)
        # Decides a fresh adapter's weights.
        torch.manual_seed(config.seed)
        self._model = build_model(config).to(processes.device)
        check_space(config.checkpoints, self._model)
        self._loss_model = LossModel(self._model)
        self._shared = processes.wrap(self._loss_model)
        self._optimizer = build_optimizer(self._model, config)
        self._done = load_state(config, self._optimizer)
        self._order = DataOrder(
            self._samples.lengths,
            seed=config.seed,
            per_device=config.batch.per_device,
            micro_batches=config.batch.gradient_accumulation * config.num_processes,
            group_by_length=config.batch.group_by_length,
        )
        self._speed = _Speed()

    def run(self) -> bool:
        last = self._config.schedule.max_steps
        steps = range(self._done + 1, last + 1)
        order = (batch for step in steps for batch in self._share(step))
        stream = batches(self._samples, order, self._config.batch.num_workers, self._processes.device)
        self._describe()
        self._stop.training = True
        for step in steps:
            stopping = self._step(step, islice(stream, self._config.batch.gradient_accumulation))
            if not stopping and self._is_due(step, self._config.eval_steps):
                stopping = not self._evaluate(step)
            if stopping or self._is_due(step, self._config.save_steps):
                self._save(step)
            if stopping and step < last:
                return False
        return True

    def _evaluate(self, step: int) -> bool:
        """Log the evaluation loss; return ``False`` where a request to stop came in the middle of it."""
        if self._evaluation is None:
            return True
        loss = self._evaluation.loss(self._loss_model, self._stop)
        if loss is None:
            return False
        self._say(lines.format_values(eval_loss=loss, global_step=step))
        return True

    def _step(self, step: int, share: Iterator[Batch]) -> bool:
        """Make one optimizer step; return whether a process was asked to stop."""
        config, started = self._config, time.monotonic()
        torch.manual_seed(_step_seed(config.seed, step, self._processes.rank))
        samples = [sample for micro_batch in self._order.step(step) for sample in micro_batch]
        targets = sum(self._samples.target_lengths[sample] for sample in samples)
        # Gradients are averaged over the processes; the loss is the mean over all tokens of the step.
        loss_sum = self._add_gradients(share, scale=self._processes.world_size / targets)
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), config.optimizer.max_grad_norm))
        total, stops = self._processes.sum([loss_sum, float(self._stop.requested)])
        loss = total / targets
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise self._diverged(step, loss, grad_norm)
        rate = learning_rate(step, config.optimizer.learning_rate, config.schedule)
        set_learning_rate(self._optimizer, rate)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._speed.add(len(samples), sum(self._samples.lengths[index] for index in samples), started)
        if self._is_due(step, config.log_steps):
            self._say(
                lines.format_values(
                    loss=loss, learning_rate=rate, global_step=step, grad_norm=grad_norm, **self._speed.take()
                )
            )
        return stops > 0

    def _add_gradients(self, share: Iterator[Batch], scale: float) -> float:
        """Go forward and back through this process's micro-batches; return the sum of their losses."""
        loss_sum = torch.zeros((), device=self._processes.device)
        for number, batch in enumerate(share, start=1):
            with self._synchronized(number == self._config.batch.gradient_accumulation):
                with self._arithmetic.context():
                    loss = self._shared(batch)
                (loss * scale).backward()
            loss_sum += loss.detach()
        return float(loss_sum)

    def _synchronized(self, is_last: bool) -> AbstractContextManager[Any]:
        """Let processes exchange gradients only in the last micro-batch of a step."""
        if is_last or self._processes.world_size == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self._shared.no_sync()
        return context

    def _save(self, step: int) -> None:
        if self._processes.is_first:
            save_checkpoint(self._config, step, self._model, self._optimizer, self._facts)
            self._say(lines.format_saved(step))

    def _diverged(self, step: int, loss: float, grad_norm: float) -> OcrvlError:
        lower = f"--set optimizer.learning_rate={self._config.optimizer.learning_rate / 3:.1g}"
        return OcrvlError(
            f"training diverged at step {step}: the loss is {loss} and the gradient's norm {grad_norm}",
            f"train under another --name with {lower}"
            + (", or with --set precision=float32" if self._arithmetic.is_bf16 else ""),
        )

    def _share(self, step: int) -> list[MicroBatch]:
        return self._order.share(step, self._processes.rank, self._processes.world_size)

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self._config.schedule.max_steps

    def _build_evaluation(self, encoder: SampleEncoder) -> Evaluation | None:
        if self._config.validation is None:
            return None
        samples = load_samples(self._config, encoder, self._config.validation)
        return Evaluation(samples, self._config.batch, self._processes, self._arithmetic)

    def _describe(self) -> None:
        trained = sum(parameter.numel() for parameter in self._model.parameters() if parameter.requires_grad)
        processes = f"{self._processes.world_size} x {self._processes.device.type}"
        self._say(f"training {trained} parameters in {self._arithmetic.name} on {processes}")
        self._say(f"{len(self._samples)} samples, the longest of {max(self._samples.lengths)} tokens")
        self._say(f"from step {self._done + 1} to {self._config.schedule.max_steps}")

    def _say(self, line: str) -> None:
        if self._processes.is_first:
            print(line, flush=True)


class _Speed:
    """Samples and tokens a second since it was last asked, by the time spent in steps alone."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._samples = self._tokens = 0
        self._seconds = 0.0

    def add(self, samples: int, tokens: int, started: float) -> None:
        self._samples += samples
        self._tokens += tokens
        self._seconds += time.monotonic() - started

    def take(self) -> dict[str, float]:
        rates = {
            "samples_per_second": round(self._samples / self._seconds, 3),
            "tokens_per_second": round(self._tokens / self._seconds, 3),
        }
        self._reset()
        return rates


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of all chance in a step, such as dropout.

    Sown anew in each step, so that a run that goes on at a step has the same chance there as one that came to it.
    """
    return int.from_bytes(hashlib.sha256(f"step-{seed}-{step}-{rank}".encode()).digest()[:8], "big") >> 1


def _out_of_memory(config: TrainerConfig) -> OcrvlError:
    smaller = f"--set batch.per_device={max(1, config.batch.per_device // 2)}"
    return OcrvlError(
        f"the GPU's memory is too small for batches of {config.batch.per_device} samples",
        f"a new run with {smaller} and more batch.gradient_accumulation"
        if config.gradient_checkpointing
        else "--set gradient_checkpointing=true",
    )
