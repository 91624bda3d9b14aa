"""What a recipe comes to on this data: steps, tokens, disk, memory, and what it may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.engines.erniekit.keys import packed_sequences
from ocrvl_modal.gpus import CORE_USD_PER_HOUR, GIB_USD_PER_HOUR, parse_gpu
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.recipes import TrainRecipe

# AdamW in float32: the weight, its gradient, and two moments.
_BYTES_PER_TRAINED_PARAMETER = 16
_BYTES_PER_FROZEN_PARAMETER = 4
# A checkpoint holds the weight and the two moments.
_BYTES_PER_SAVED_PARAMETER = 12
# Prompt, framing and end, beside the tokens of image and target.
_TOKENS_AROUND_A_SAMPLE = 12


@dataclass(frozen=True)
class DatasetSize:
    """What the plan needs to know of a checked dataset; tokens are those of images and targets together."""

    samples: int
    tokens: int
    longest_sample_tokens: int


class TrainPlan(BaseModel):
    """What will happen. Memory is that of weights, gradients and optimizer; activations come on top.

    ``samples_that_fit`` is given where the engine packs samples into sequences that hold fewer of them than a forward
    pass may take; ``samples_per_step`` is an estimate then.
    """

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
    samples_that_fit: int | None = None
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
        warnings: list[str] = []
        if self.samples_per_step > self.samples:
            warnings.append(
                f"a step takes {self.samples_per_step} samples, and there are {self.samples}: lower batch.per_device or"
                " batch.gradient_accumulation"
            )
        if self.samples_that_fit:
            warnings.append(
                f"data.max_seq_len has room for about {self.samples_that_fit} of these samples at a time, fewer than"
                f" batch.per_device: a step takes about {self.samples_per_step}"
            )
        if self.price_usd_per_hour and self.deadline_s is None:
            warnings.append(
                f"nothing limits this run, at ${self.price_usd_per_hour} an hour: --set limits.max_cost_usd=10 has it"
                " save and stop there"
            )
        return tuple(warnings)

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
    samples_that_fit = _samples_that_fit(recipe, train)
    samples_per_pass = samples_that_fit or recipe.batch.per_device
    samples_per_step = samples_per_pass * recipe.batch.gradient_accumulation * devices
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
        samples_that_fit=samples_that_fit,
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


def _samples_that_fit(recipe: TrainRecipe, train: DatasetSize) -> int | None:
    """Return how many average samples ERNIEKit's packed sequences hold, where that is less than ``batch.per_device``.

    A sequence is closed when the next sample would make it longer than ``data.max_seq_len``.
    """
    sequences = packed_sequences(recipe) if recipe.engine == "erniekit" else None
    if sequences is None:
        return None
    sample_tokens = train.tokens / train.samples + _TOKENS_AROUND_A_SAMPLE
    fit = sequences * max(1, math.floor(recipe.data.max_seq_len / sample_tokens))
    return fit if fit < recipe.batch.per_device else None


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
    """Return the list price of all that is rented; memory and cores are billed beside the GPU."""
    if backend == "local":
        return Decimal(0)
    hardware = recipe.hardware
    gpu = parse_gpu(hardware.gpu).price_usd_per_hour if hardware.gpu else Decimal(0)
    rest = Decimal(hardware.cpu or 0) * CORE_USD_PER_HOUR + (hardware.memory_gib or 0) * GIB_USD_PER_HOUR
    return round(gpu + rest, 2)
