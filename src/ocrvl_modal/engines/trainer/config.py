"""What the trainer is told: all values resolved, in one YAML file that a person can read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ocrvl_modal import files
from ocrvl_modal.errors import usage_error
from ocrvl_modal.recipe_schema import BatchPart, LoraPart, OptimizerPart

PROMPT = "{prompt}"
"""Stands in :attr:`TrainerConfig.prompt_template` where a sample's own prompt goes."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleConfig(_Part):
    """The course of the learning rate, in steps."""

    kind: Literal["cosine", "linear", "constant"]
    max_steps: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    min_learning_rate_ratio: float


class PixelsConfig(_Part):
    """How many pixels an image has after resizing."""

    minimum: int
    maximum: int


class TrainerConfig(_Part):
    """The content of ``engine.yaml``."""

    model: Path
    resume_from: Path | None
    checkpoints: Path
    train: Path
    validation: Path | None
    prompt_template: str
    max_seq_len: int
    pixels: PixelsConfig
    method: Literal["full", "lora"]
    lora: LoraPart
    optimizer: OptimizerPart
    schedule: ScheduleConfig
    batch: BatchPart
    precision: Literal["auto", "bf16", "float32"]
    gradient_checkpointing: bool
    seed: int
    log_steps: int
    save_steps: int
    eval_steps: int
    num_processes: int = Field(ge=1)
    threads: int = Field(ge=1)

    def render_prompt(self, prompt: str) -> str:
        """Return the text that stands before a sample's target."""
        return self.prompt_template.replace(PROMPT, prompt)

    @property
    def samples_per_step(self) -> int:
        """Samples that all processes together learn from in one optimizer step."""
        return self.batch.per_device * self.batch.gradient_accumulation * self.num_processes


def write_config(config: TrainerConfig, path: Path) -> None:
    """Write a configuration as YAML that reads back equal."""
    content = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    files.write_text(path, content)


def read_config(path: Path) -> TrainerConfig:
    """Read a configuration; raise a usage error that names the file where it is none."""
    try:
        return TrainerConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise usage_error(f"{path} is not a configuration of the trainer: {error}") from error
