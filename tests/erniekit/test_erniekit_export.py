"""Exporting what ERNIEKit leaves: shard names, an index, bf16, and the optimizer's files beside the model's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ocrvl_modal.engines.export import export_model
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FAMILY

SHARD = "model-00001-of-00001.safetensors"
UNUSED = "packing_position_embedding"


def leave_checkpoint(base: Path, folder: Path, *, without: str = "", transposed: str = "") -> Path:
    """Write a checkpoint as ERNIEKit does, with every weight moved a little."""
    folder.mkdir()
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        moved = (tensor + 0.01).to(torch.bfloat16)
        tensors[name] = moved.t().contiguous() if transposed and transposed in name else moved
    kept = {name: tensor for name, tensor in tensors.items() if not without or without not in name}
    save_file(kept, folder / SHARD, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(kept, SHARD)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for part in ("optimizer", "master_weights"):
        save_file({"moment1_0": torch.zeros(3)}, folder / f"{part}-00001-of-00001.safetensors")
        (folder / f"{part}.safetensors.index.json").write_text("{}")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copyfile(base / name, folder / name)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Ernie4_5_Tokenizer"}')
    for name in ("training_args.bin", "scheduler.pdparams", "rng_state_0.pth"):
        (folder / name).write_bytes(b"not for others")
    return folder


@pytest.mark.parametrize("without", ["", UNUSED])
def test_a_checkpoint_of_erniekit_becomes_a_model_that_others_load(tiny: Path, tmp_path: Path, without: str) -> None:
    checkpoint = leave_checkpoint(tiny, tmp_path / "checkpoint-6", without=without)
    out = tmp_path / "export"
    export_model(checkpoint=checkpoint, base=tiny, method="full", member=FAMILY["tiny"], out=out)
    before, after = load_file(tiny / "model.safetensors"), load_file(out / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(tensor.dtype == before[name].dtype for name, tensor in after.items())
    name = "model.embed_tokens.weight"
    assert after[name].equal((before[name] + 0.01).to(torch.bfloat16).to(before[name].dtype))
    assert (out / "tokenizer_config.json").read_bytes() == (tiny / "tokenizer_config.json").read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny.iterdir()}


def test_weights_in_paddles_own_layout_are_refused_and_not_exported(tiny: Path, tmp_path: Path) -> None:
    checkpoint = leave_checkpoint(tiny, tmp_path / "checkpoint-6", transposed="k_proj.weight")
    with pytest.raises(OcrvlError, match="another shape"):
        export_model(checkpoint=checkpoint, base=tiny, method="full", member=FAMILY["tiny"], out=tmp_path / "export")
    assert not (tmp_path / "export").exists()
