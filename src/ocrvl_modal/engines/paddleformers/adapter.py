"""Adapters as PaddleFormers saves them, merged into the base model without PaddleFormers.

A layer ``x`` has ``x.lora_A`` [inputs, rank] and ``x.lora_B`` [rank, outputs], and ``lora_config.json`` the scale; the
base's ``x.weight`` is [outputs, inputs]. (Source: ``peft/lora/lora_layers.py`` of PaddleFormers 1.2.0.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ocrvl_modal.engines.weights import WEIGHTS, WeightFiles, canonical_name
from ocrvl_modal.errors import OcrvlError, not_found

CONFIG = "lora_config.json"

_WEIGHTS = "peft_model-*-of-*.safetensors"
_FROM, _TO = ".lora_A", ".lora_B"
_WRONG_BASE = "export with the base model that the checkpoint began from"


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter of PaddleFormers."""
    return (folder / CONFIG).is_file()


def merge_adapter(adapter: Path, base: Path, out: Path) -> None:
    """Write the base with the adapter added, in float32 where it is, to ``out``.

    Raises *not found* for an adapter that is not whole, and an error for one that does not fit the base.
    """
    from safetensors.torch import save_file

    scale = _scale(adapter)
    layers = _layers(adapter)
    tensors: dict[str, Any] = {}
    with WeightFiles(base) as weights:
        for name in weights.names:
            tensor = weights.tensor(name)
            layer = layers.pop(canonical_name(name).removesuffix(".weight"), None)
            tensors[name] = tensor if layer is None else _add(tensor, layer, scale, f"{adapter}: {name}")
    if layers:
        raise OcrvlError(f"the adapter in {adapter} adapts {next(iter(layers))}, which {base} lacks", _WRONG_BASE)
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})


def _scale(adapter: Path) -> float:
    path = adapter / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return float(config["scaling"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise not_found(f"{path} does not give the adapter's scale", "begin from an earlier checkpoint") from error


def _layers(adapter: Path) -> dict[str, dict[str, Any]]:
    """Return both halves of each layer's adapter, by the layer's name."""
    from safetensors.torch import load_file

    files = sorted(adapter.glob(_WEIGHTS))
    layers: dict[str, dict[str, Any]] = {}
    for path in files:
        for name, tensor in load_file(path).items():
            half = name[-len(_FROM) :]
            layers.setdefault(name.removesuffix(half), {})[half] = tensor
    broken = [name for name, halves in layers.items() if set(halves) != {_FROM, _TO}]
    if broken or not layers:
        what = f"{broken[0]} has not both halves" if broken else f"no {_WEIGHTS}"
        raise not_found(f"the adapter in {adapter} is not whole: {what}", "begin from an earlier checkpoint")
    return layers


def _add(weight: Any, halves: dict[str, Any], scale: float, what: str) -> Any:
    import torch

    change = (halves[_FROM].to(torch.float32) @ halves[_TO].to(torch.float32)).T * scale
    if change.shape != weight.shape:
        raise OcrvlError(f"{what}: the adapter is for a layer of another shape", _WRONG_BASE)
    return weight.to(torch.float32) + change
