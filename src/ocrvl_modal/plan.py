"""What a recipe comes to on this data: steps, tokens, disk, memory, and what it may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.gpus import parse_gpu
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.recipes import TrainRecipe

# AdamW in float32: the weight, its gradient, and two moments.
_BYTES_PER_TRAINED_PARAMETER = 16
_BYTES_PER_FROZEN_PARAMETER = 4
# A checkpoint holds the weight and the two moments.
_BYTES_PER_SAVED_PARAMETER = 12


@dataclass(frozen=True)
class DatasetSize:
    """What the plan needs to know of a checked dataset; tokens are those of images and targets together."""

    samples: int
    tokens: int
    longest_sample_tokens: int


class TrainPlan(BaseModel):
    """What will happen. Memory is that of weights, gradients and optimizer; activations come on top."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    backend: str
    hardware: str
    model: str
    method: str
    engine: str
    samples: int
    validation_samples: int
    longest_sample_tokens: int
    samples_per_step: int
    max_steps: int
    warmup_steps: int
    epochs: float
    tokens: int
    trained_parameters: int
    memory_bytes: int
    checkpoint_bytes: int
    disk_bytes: int
    timeout_hours: float | None
    price_usd_per_hour: Decimal
    most_usd: Decimal | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user hardly means."""
        if self.samples_per_step <= self.samples:
            return ()
        return (
            f"a step takes {self.samples_per_step} samples, and there are {self.samples}: lower batch.per_device or"
            " batch.gradient_accumulation",
        )

    @property
    def deadline_s(self) -> float | None:
        """Seconds after which the run saves and stops: the nearer of its time limit and its money."""
        limits = []
        if self.timeout_hours is not None:
            limits.append(self.timeout_hours * 3600)
        if self.most_usd is not None and self.price_usd_per_hour:
            limits.append(float(self.most_usd / self.price_usd_per_hour) * 3600)
        return min(limits) if limits else None


def make_plan(
    recipe: TrainRecipe,
    member: FamilyMember,
    *,
    run: str,
    backend: str,
    hardware: str,
    train: DatasetSize,
    validation_samples: int,
    devices: int,
) -> TrainPlan:
    """Return the plan of ``recipe`` on ``devices`` devices. Pure: the same arguments give the same plan."""
    samples_per_step = recipe.batch.per_device * recipe.batch.gradient_accumulation * devices
    max_steps = recipe.schedule.max_steps or math.ceil(train.samples * recipe.schedule.num_epochs / samples_per_step)
    epochs = max_steps * samples_per_step / train.samples
    trained = _trained_parameters(recipe, member)
    frozen = member.parameters if recipe.method == "lora" else 0
    checkpoint_bytes = trained * _BYTES_PER_SAVED_PARAMETER
    return TrainPlan(
        run=run,
        backend=backend,
        hardware=hardware,
        model=recipe.model.name,
        method=recipe.method,
        engine=recipe.engine,
        samples=train.samples,
        validation_samples=validation_samples,
        longest_sample_tokens=train.longest_sample_tokens,
        samples_per_step=samples_per_step,
        max_steps=max_steps,
        warmup_steps=_warmup_steps(recipe, max_steps),
        epochs=round(epochs, 2),
        tokens=round(train.tokens * epochs),
        trained_parameters=trained,
        memory_bytes=trained * _BYTES_PER_TRAINED_PARAMETER + frozen * _BYTES_PER_FROZEN_PARAMETER,
        checkpoint_bytes=checkpoint_bytes,
        disk_bytes=_disk_bytes(recipe, member, checkpoint_bytes),
        timeout_hours=recipe.limits.timeout_hours,
        price_usd_per_hour=_price(recipe, backend),
        most_usd=recipe.limits.max_cost_usd,
    )


def _trained_parameters(recipe: TrainRecipe, member: FamilyMember) -> int:
    if recipe.method == "full":
        return member.parameters
    return recipe.lora.rank * member.lora_parameters_per_rank[recipe.lora.targets]


def _warmup_steps(recipe: TrainRecipe, max_steps: int) -> int:
    if recipe.schedule.warmup_steps is not None:
        return recipe.schedule.warmup_steps
    return math.ceil(max_steps * recipe.schedule.warmup_ratio)


def _disk_bytes(recipe: TrainRecipe, member: FamilyMember, checkpoint_bytes: int) -> int:
    """Kept checkpoints, the one being written before the oldest goes, and the export beside what it is built from."""
    export_bytes = 2 * member.parameters * _BYTES_PER_FROZEN_PARAMETER
    return (recipe.checkpoint.save_total_limit + 1) * checkpoint_bytes + export_bytes


def _price(recipe: TrainRecipe, backend: str) -> Decimal:
    if backend == "local" or recipe.hardware.gpu is None:
        return Decimal(0)
    return parse_gpu(recipe.hardware.gpu).price_usd_per_hour
