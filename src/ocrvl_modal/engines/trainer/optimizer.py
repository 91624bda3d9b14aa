"""AdamW over the trained parameters, without decay for biases and norms."""

from __future__ import annotations

from typing import Any

import torch

from ocrvl_modal.engines.trainer.config import TrainerConfig


def build_optimizer(model: Any, config: TrainerConfig) -> torch.optim.Optimizer:
    """Return the optimizer; its learning rate is set anew in every step."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    settings = config.optimizer
    groups = [
        {"params": [item for item in trained if item.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [item for item in trained if item.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use ``rate`` from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
