"""What a training recipe consists of: every key, its default, and the default's reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ocrvl_modal.gpus import parse_gpu
from ocrvl_modal.models import DEFAULT_MODEL


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelPart(_Part):
    """Which model is tuned."""

    name: str = Field(
        DEFAULT_MODEL,
        description="A family member, or a folder that holds a model. The newest member reads best before any tuning.",
    )
    family: str | None = Field(
        None, description="The member that a folder's model belongs to; told from the folder where it is not given."
    )
    revision: str = Field("main", description="Branch, tag or commit of the model's repository.")

    @field_validator("name", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        """YAML reads the short name ``1.6`` as a number."""
        return str(value) if isinstance(value, float) else value


class DataPart(_Part):
    """What is learned from, and how long a sample may be."""

    train: str | None = Field(
        None, description="JSONL of training samples: a file here, or NAME@VERSION or /data/… in the data store."
    )
    validation: str | None = Field(None, description="JSONL for the evaluation loss while training; may be absent.")
    test: str | None = Field(None, description="JSONL held out for `ocrvl eval`; no other step reads it.")
    max_seq_len: int = Field(
        16384,
        ge=16,
        description="Longest sample, in tokens of image, prompt and target together. 16384 is what the official"
        " recipes train with. A longer sample is an error, never cut.",
    )
    extra_prompts: tuple[str, ...] = Field(
        (),
        description="Prompts beside the model's own. A new labelling convention needs a prompt of its own, and an"
        " unlisted one is taken for a slip.",
    )
    augmentation: bool = Field(
        False,
        description="Change images by chance as the maintainers' trainers do: scale, pad, turn by 90 or 270 degrees,"
        " shift colours, compress as JPEG. Off: a page on its side is rarely what one wants to read.",
    )


class LoraPart(_Part):
    """The adapter, where the method is ``lora``."""

    rank: int = Field(8, ge=1, le=512, description="8 is the official rank.")
    alpha: int | None = Field(None, ge=1, description="Scale of the adapter; twice the rank where it is not given.")
    dropout: float = Field(0.0, ge=0, lt=1, description="The official recipe drops nothing.")
    targets: Literal["language", "all"] = Field(
        "all", description="Which linear layers are adapted. Both official LoRA recipes adapt the vision tower too."
    )


class OptimizerPart(_Part):
    """AdamW, the only optimizer."""

    learning_rate: float = Field(
        5e-6, gt=0, description="Peak rate. Official: 5e-6 for all parameters, 5e-4 for LoRA (set by the method)."
    )
    weight_decay: float = Field(0.1, ge=0, description="Official value; biases and norms are not decayed.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Official value.")
    beta2: float = Field(0.95, ge=0, lt=1, description="Official value.")
    epsilon: float = Field(1e-8, gt=0, description="Official value.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this global norm.")


class SchedulePart(_Part):
    """How long, and the course of the learning rate."""

    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; goes before num_epochs where it is given.")
    num_epochs: float = Field(2, gt=0, description="Passes over the data. The official recipes make two.")
    kind: Literal["cosine", "linear", "constant"] = Field("cosine", description="Course after the warm-up.")
    warmup_ratio: float = Field(0.01, ge=0, le=1, description="Share of the steps spent warming up; official value.")
    warmup_steps: int | None = Field(None, ge=0, description="Goes before warmup_ratio where it is given.")
    min_learning_rate_ratio: float = Field(
        0.1, ge=0, le=1, description="The rate ends at this share of its peak; official: 5e-7 of 5e-6."
    )


class BatchPart(_Part):
    """How many samples make a step: ``per_device`` x ``gradient_accumulation`` x devices."""

    per_device: int = Field(8, ge=1, description="Samples a forward pass, on each device.")
    gradient_accumulation: int = Field(8, ge=1, description="Forward passes a step; 8 x 8 is the official step.")
    per_device_evaluation: int | None = Field(None, ge=1, description="As per_device where it is not given.")
    group_by_length: bool = Field(True, description="Samples of like length share a batch, so that little is padding.")
    num_workers: int = Field(
        4,
        ge=0,
        le=64,
        description="Processes that prepare images on each device; 0 prepares them in the trainer. A GPU learns from a"
        " page faster than one process decodes it.",
    )


class CheckpointPart(_Part):
    """How much a killed run may lose."""

    save_steps: int = Field(200, ge=1, description="A checkpoint each so many steps, and one at the end.")
    save_total_limit: int = Field(3, ge=1, description="Complete checkpoints kept; the oldest goes first.")


class EvaluationPart(_Part):
    """The loss on ``data.validation`` while training."""

    eval_steps: int = Field(200, ge=1, description="Evaluation loss each so many steps, and at the end.")


class PixelsPart(_Part):
    """Image size after resizing. Training and reading must agree, so the model's own limits stand unless given."""

    minimum: int | None = Field(None, ge=784, description="Fewest pixels; the model's own where it is not given.")
    maximum: int | None = Field(None, ge=784, description="Most pixels; the model's own where it is not given.")

    @model_validator(mode="after")
    def _ordered(self) -> PixelsPart:
        if self.minimum and self.maximum and self.minimum > self.maximum:
            raise ValueError(f"pixels.minimum {self.minimum} is over pixels.maximum {self.maximum}")
        return self


class HardwarePart(_Part):
    """What a run is given to run on. The local backend uses what this machine has."""

    gpu: str | None = Field(None, description="GPU to rent, such as L40S or A100-80GB:2; ignored by the local backend.")
    num_processes: int | None = Field(
        None, ge=1, description="Trainer processes, one a device; all visible GPUs where it is not given, 1 on a CPU."
    )
    cpu: float | None = Field(
        None, gt=0, le=64, description="CPU cores to rent; 8 a GPU where it is not given. Ignored by the local backend."
    )
    memory_gib: int | None = Field(
        None,
        ge=1,
        le=512,
        description="Memory to rent; 48 GiB a GPU where it is not given. Ignored by the local backend.",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads a process computes with; the machine's cores where it is not given."
    )

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, value: str | None) -> str | None:
        return None if value is None else str(parse_gpu(value))


class LimitsPart(_Part):
    """What a run may use up before it saves and stops."""

    timeout_hours: float | None = Field(
        None, gt=0, description="Hours of running, over all attempts; none where absent."
    )
    max_cost_usd: Decimal | None = Field(
        None, gt=0, description="Money at the GPU's price, over all attempts; this machine costs nothing."
    )
    max_retries: int = Field(
        10,
        ge=0,
        le=10,
        description="Times that Modal starts a run again whose container died or ran into the time limit; 10 is the"
        " most that it takes. A preemption uses none up. Ignored by the local backend.",
    )
    stall_minutes: float = Field(
        30,
        gt=0,
        description="A run whose engine logs no step for so long is stopped: an engine that found nothing to train on"
        " hangs for ever. Loading the model and, on a resume, reading past the samples seen count too.",
    )


class TrackingPart(_Part):
    """What is written down of a run."""

    log_steps: int = Field(1, ge=1, description="A row of metrics each so many steps.")
    tags: tuple[str, ...] = Field((), description="Words shown by `ocrvl runs ls`.")
    note: str = Field("", description="A line to remember the run by.")


class TrainRecipe(_Part):
    """All that decides a training run. ``ocrvl train recipe.yaml`` with a resolved recipe repeats the run."""

    model: ModelPart = ModelPart()
    method: Literal["full", "lora"] = Field("full", description="All parameters, or a low-rank adapter.")
    engine: Literal["auto", "transformers", "paddleformers", "erniekit"] = Field(
        "auto", description="The trainer; auto takes the one that suits the model, the method and the backend."
    )
    data: DataPart = DataPart()
    lora: LoraPart = LoraPart()
    optimizer: OptimizerPart = OptimizerPart()
    schedule: SchedulePart = SchedulePart()
    batch: BatchPart = BatchPart()
    checkpoint: CheckpointPart = CheckpointPart()
    evaluation: EvaluationPart = EvaluationPart()
    pixels: PixelsPart = PixelsPart()
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="auto: bf16 arithmetic over float32 weights where the device has it, else float32."
    )
    engine_config: dict[str, Any] | None = Field(
        None,
        description="Keys of the engine's own configuration, in place of the file that it ships with; only for"
        " erniekit. `ocrvl train --config-path FILE` fills it in.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations instead of keeping them: about a third slower, far less memory."
    )
    seed: int = Field(
        23, ge=0, lt=2**32, description="Decides data order, dropout and fresh adapters; 23 is the official seed."
    )
    hardware: HardwarePart = HardwarePart()
    limits: LimitsPart = LimitsPart()
    secrets: tuple[str, ...] = Field(
        (), description="Names of the secrets that the engine may see; all others are kept from it."
    )
    hf_secret: str | None = Field(
        None,
        description="Name of the Modal secret with the key HF_TOKEN, which the download of the base model gets; for a"
        " model that is private or gated. On this machine, HF_TOKEN of the environment is used as it is.",
    )
    tracking: TrackingPart = TrackingPart()
    output_dir: str | None = Field(
        None, description="Also put the finished model here: a folder, or /models/… or /outputs/… in a store."
    )

    @property
    def lora_alpha(self) -> int:
        """The adapter's scale with its default applied."""
        return self.lora.alpha or 2 * self.lora.rank


def flatten(recipe: TrainRecipe) -> dict[str, Any]:
    """Return the recipe as ``{"optimizer.learning_rate": 5e-6, …}``."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}{key}.", inner)
        else:
            flat[prefix[:-1]] = value

    walk("", recipe.model_dump(mode="json"))
    return flat
