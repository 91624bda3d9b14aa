"""The model as it is trained: loaded in float32, with an adapter where asked, and wrapped so that it returns a loss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from ocrvl_modal.engines.reader import load_model, quiet_transformers
from ocrvl_modal.engines.trainer.batches import Batch
from ocrvl_modal.engines.trainer.config import TrainerConfig

_LOGITS_AT_ONCE = 1 << 26
"""Logits computed in one piece: 2^26 floats are 256 MiB, and a page's text times a vocabulary of 103424 is more."""

_LANGUAGE = r"model\.language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
_VISION = r"model\.visual\.vision_model\.encoder\.layers\.\d+\.(self_attn\.([qkv]|out)_proj|mlp\.fc[12])"
_PROJECTOR = r"model\.projector\.linear_[12]"
LORA_TARGETS = {"language": _LANGUAGE, "all": f"{_LANGUAGE}|{_VISION}|{_PROJECTOR}"}


class LossModel(torch.nn.Module):  # type: ignore[misc]
    """Returns the sum of the cross-entropy over a batch's target tokens.

    The sum and not the mean, so that the mean over all the batches of a step is exact, however they are cut.
    """

    def __init__(self, model: Any) -> None:
        """``model`` is a PaddleOCR-VL of transformers, or a PEFT model around one."""
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> torch.Tensor:
        """Compute logits only where a target token is predicted: the vocabulary is the largest thing in the model."""
        network = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        output = network.model(
            input_ids=batch.tokens,
            position_ids=batch.positions,
            pixel_values=batch.pixels,
            image_grid_thw=batch.grid,
            use_cache=False,
        )
        hidden = output.last_hidden_state.flatten(0, 1)[batch.predicting]
        return _loss(network.lm_head, hidden, batch.targets)


def _loss(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    rows = max(1, _LOGITS_AT_ONCE // head.out_features)
    if len(targets) <= rows:
        return _piece(head, hidden, targets)
    pieces = zip(hidden.split(rows), targets.split(rows), strict=True)
    # Each piece's logits are computed again on the way back instead of being kept.
    return torch.stack([checkpoint(_piece, head, *piece, use_reentrant=False) for piece in pieces]).sum()


def _piece(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="sum")


def build_model(config: TrainerConfig) -> Any:
    """Return the model to train: from the checkpoint to resume, else from the base model.

    Weights are float32 whatever the arithmetic: the steps of an optimizer are too small for bf16 to hold.
    """
    full_resume = config.resume_from if config.method == "full" else None
    model = load_model(full_resume or config.model, torch.float32)
    if config.method == "lora":
        model = _with_adapter(model, config)
    if config.gradient_checkpointing:
        # Quiet, because the name that all supported versions know is deprecated in the newest.
        with quiet_transformers():
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def _with_adapter(model: Any, config: TrainerConfig) -> Any:
    from peft import LoraConfig, PeftModel, get_peft_model

    with quiet_transformers():
        if config.resume_from:
            return PeftModel.from_pretrained(model, config.resume_from, is_trainable=True)
        return get_peft_model(
            model,
            LoraConfig(
                r=config.lora.rank,
                lora_alpha=config.lora.alpha or 2 * config.lora.rank,
                lora_dropout=config.lora.dropout,
                target_modules=LORA_TARGETS[config.lora.targets],
            ),
        )


def save_model(model: Any, config: TrainerConfig, folder: Path) -> None:
    """Write the tuned weights: of the whole model beside the base model's other files, or of the adapter alone."""
    with quiet_transformers():
        if config.method == "lora":
            _save_adapter(model, folder)
            return
        model.save_pretrained(folder)
    _copy_base_files(config.model, folder)


def _save_adapter(model: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    model.peft_config["default"].save_pretrained(folder)


def _copy_base_files(base: Path, folder: Path) -> None:
    """Copy what makes weights a model; config.json too, because other tools know its form and not a rewritten one."""
    for path in sorted(base.iterdir()):
        is_weights = re.search(r"\.(safetensors|bin|pdparams|metadata)$|\.index\.json$", path.name)
        if path.is_file() and not path.name.startswith(".") and not is_weights:
            (folder / path.name).write_bytes(path.read_bytes())
