"""The device that this process computes on, the arithmetic it uses, and the other processes of the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed

from ocrvl_modal.engines.trainer.config import TrainerConfig
from ocrvl_modal.errors import usage_error

_PATIENCE = timedelta(hours=2)
"""How long processes wait for the one that writes a checkpoint or reads a large dataset's headers more slowly."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run; the variables are those that torchrun sets."""

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def join(cls, config: TrainerConfig) -> Processes:
        """Meet the other processes; raise a usage error where there are not as many as configured."""
        rank = int(os.environ.get("RANK", 0))
        world_size = int(os.environ.get("WORLD_SIZE", 1))
        if world_size != config.num_processes:
            raise usage_error(
                f"{world_size} processes were started and the configuration says {config.num_processes}",
                f"--set hardware.num_processes={world_size}",
            )
        device = _device(int(os.environ.get("LOCAL_RANK", 0)))
        if world_size > 1:
            torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
        return cls(rank, world_size, device)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs and saves."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sum of each value over all processes."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def wrap(self, module: Any) -> Any:
        """Return a module whose gradients are averaged over all processes."""
        if self.world_size == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)

    def leave(self) -> None:
        """Part from the other processes, after all of them have come as far."""
        if self.world_size > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise usage_error(f"there are {count} GPUs for more processes", f"--set hardware.num_processes={count}")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


class Arithmetic:
    """In what numbers the model computes: bf16 over float32 weights, or float32 throughout."""

    def __init__(self, precision: str, device: torch.device) -> None:
        """Choose; raise a usage error where bf16 is asked of a device that has none."""
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bf16" and not has_bf16:
            name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
            raise usage_error(
                f"precision bf16 needs a GPU that computes in bf16, and this is {name}", "--set precision=auto"
            )
        self.is_bf16 = has_bf16 and precision != "float32"
        self._device = device

    @property
    def name(self) -> str:
        """The arithmetic's name in the log."""
        return "bf16" if self.is_bf16 else "float32"

    def context(self) -> AbstractContextManager[Any]:
        """Return the context that a forward pass runs in."""
        return torch.autocast(self._device.type, torch.bfloat16) if self.is_bf16 else nullcontext()
