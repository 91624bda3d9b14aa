"""Adapters as PaddleFormers saves them, merged and exported without PaddleFormers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ocrvl_modal.engines.export import export_model
from ocrvl_modal.engines.paddleformers.adapter import is_adapter, merge_adapter
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FAMILY

LAYER = "model.layers.0.self_attn.k_proj"
RANK, SCALE = 4, 2.0


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter of one layer: 64 inputs, 32 outputs."""
    folder = tmp_path / "checkpoint-6"
    folder.mkdir()
    write(folder, {f"{LAYER}.lora_A": torch.randn(64, RANK), f"{LAYER}.lora_B": torch.randn(RANK, 32)})
    (folder / "lora_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": 2 * RANK, "scaling": SCALE}))
    return folder


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "peft_model-00001-of-00001.safetensors")


def test_the_adapted_layer_gets_the_scaled_product_and_no_other_changes(
    adapter: Path, tiny: Path, tmp_path: Path
) -> None:
    merge_adapter(adapter, tiny, tmp_path)
    merged, base = load_file(tmp_path / "model.safetensors"), load_file(tiny / "model.safetensors")
    halves = load_file(adapter / "peft_model-00001-of-00001.safetensors")
    inputs = torch.randn(3, 64)
    expected = (
        inputs @ base[f"{LAYER}.weight"].T + SCALE * (inputs @ halves[f"{LAYER}.lora_A"]) @ (halves[f"{LAYER}.lora_B"])
    )
    assert torch.allclose(inputs @ merged[f"{LAYER}.weight"].T, expected, atol=1e-5)
    assert merged.keys() == base.keys()
    assert [name for name in base if not torch.equal(base[name], merged[name])] == [f"{LAYER}.weight"]


def test_halves_in_16_bits_are_added_in_32(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    halves = load_file(adapter / "peft_model-00001-of-00001.safetensors")
    write(adapter, {name: tensor.bfloat16() for name, tensor in halves.items()})
    merge_adapter(adapter, tiny, tmp_path)
    base = load_file(tiny / "model.safetensors")[f"{LAYER}.weight"]
    added = load_file(tmp_path / "model.safetensors")[f"{LAYER}.weight"] - base
    first, second = (halves[f"{LAYER}.lora_{half}"].bfloat16().float() for half in "AB")
    assert torch.allclose(added, SCALE * (first @ second).T, atol=1e-5)


def test_the_export_of_an_adapter_is_the_merged_model_in_the_base_s_form(
    adapter: Path, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "export"
    report = export_model(checkpoint=adapter, base=tiny, method="lora", member=FAMILY["tiny"], out=out)
    merge_adapter(adapter, tiny, tmp_path)
    exported, merged = load_file(out / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(exported[name], merged[name]) for name in merged)
    assert report.dtype == "float32"


def test_an_adapter_is_known_by_its_own_configuration(adapter: Path, tiny: Path) -> None:
    assert is_adapter(adapter)
    assert not is_adapter(tiny)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "not whole"),
        ({f"{LAYER}.lora_A": torch.zeros(64, RANK)}, "not both halves"),
        ({"model.none.lora_A": torch.zeros(64, RANK), "model.none.lora_B": torch.zeros(RANK, 32)}, "which .* lacks"),
        ({f"{LAYER}.lora_A": torch.zeros(64, RANK), f"{LAYER}.lora_B": torch.zeros(RANK, 33)}, "another shape"),
    ],
)
def test_an_adapter_that_is_not_whole_or_does_not_fit_is_refused(
    adapter: Path, tiny: Path, tmp_path: Path, tensors: dict[str, torch.Tensor], reason: str
) -> None:
    write(adapter, tensors)
    with pytest.raises(OcrvlError, match=reason):
        merge_adapter(adapter, tiny, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"scaling": null}', "[]"])
def test_an_adapter_without_a_scale_is_refused(adapter: Path, tiny: Path, tmp_path: Path, content: str) -> None:
    (adapter / "lora_config.json").write_text(content)
    with pytest.raises(OcrvlError, match="scale"):
        merge_adapter(adapter, tiny, tmp_path)
