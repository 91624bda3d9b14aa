"""The real architecture at its real size, with random weights: it loads, trains, saves and goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ocrvl_modal.engines.reader import quiet_transformers
from ocrvl_modal.files import sha256_of
from ocrvl_modal.models import FAMILY

MakeWork = Callable[..., Any]
GIB = 1 << 30

IDS = {
    "<pad>": 0,
    "<|begin_of_sentence|>": 1,
    "</s>": 2,
    "<|IMAGE_PLACEHOLDER|>": 100295,
    "<|video_pad|>": 100296,
    "<|IMAGE_START|>": 101305,
    "<|IMAGE_END|>": 101306,
}
# The values of the real configuration, laid out as the hub's files are.
CONFIG = {
    "architectures": ["PaddleOCRVLForConditionalGeneration"],
    "model_type": "paddleocr_vl",
    "vocab_size": 103424,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 18,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000,
    "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
    "use_bias": False,
    "use_cache": False,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "image_token_id": 100295,
    "video_token_id": 100296,
    "vision_start_token_id": 101305,
    "vision_end_token_id": 101306,
    "vision_config": {
        "model_type": "paddleocr_vl",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "num_channels": 3,
        "image_size": 384,
        "patch_size": 14,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
        "attention_dropout": 0.0,
        "spatial_merge_size": 2,
        "torch_dtype": "bfloat16",
    },
}

pytestmark = pytest.mark.slow


def available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def write_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

    torch.manual_seed(0)
    config = PaddleOCRVLConfig.from_dict(json.loads(json.dumps(CONFIG)))
    with quiet_transformers(), torch.device("meta"):
        model = PaddleOCRVLForConditionalGeneration(config)
    model.to_empty(device="cpu").to(torch.bfloat16)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02) if parameter.dim() > 1 else torch.nn.init.ones_(parameter)
    with quiet_transformers():
        model.save_pretrained(folder)
    # The real files also hold what no part of the model reads.
    weights = load_file(folder / "model.safetensors")
    vision = "visual.vision_model"
    weights[f"{vision}.embeddings.packing_position_embedding.weight"] = torch.zeros(32768, 1152, dtype=torch.bfloat16)
    weights[f"{vision}.head.probe"] = torch.zeros(1, 1, 1152, dtype=torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    texts = ["\n", *map(chr, range(32, 127))]
    vocabulary = {**IDS, **{text: 1000 + place for place, text in enumerate(texts)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.add_special_tokens(list(IDS))
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def full_size(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The model's folder; all that is made beside it is removed, because it is tens of gigabytes."""
    if available_bytes() < 18 * GIB:
        pytest.skip("the weights, gradients and optimizer of 0.96 B parameters need 16 GiB of memory")
    if shutil.disk_usage(tmp_path).free < 40 * GIB:
        pytest.skip("two checkpoints of 0.96 B parameters need 24 GiB of disk")
    folder = tmp_path / "model"
    folder.mkdir()
    write_weights(folder)
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shutil.copy(tiny / "preprocessor_config.json", folder)
    yield folder
    shutil.rmtree(tmp_path)


def test_the_full_size_model_trains_saves_and_goes_on(make_work: MakeWork, full_size: Path) -> None:
    sets = (
        "batch.per_device=1",
        "checkpoint.save_steps=1",
        "pixels.minimum=784",
        "pixels.maximum=4704",
        "optimizer.learning_rate=1e-4",
        "schedule.kind=constant",
        "hardware.threads=2",
    )
    changes = {"model": full_size, "member": FAMILY["paddleocr-vl-1.6"], "warmup_steps": 0}
    work = make_work("full", *sets, max_steps=2, **changes)
    losses = work.losses(work.train_as_child())
    (weights,) = work.weight_files(2)
    expected = sha256_of(weights)
    shutil.rmtree(work.checkpoint(2))

    again = work.resumed(1)
    assert again.losses(again.train_as_child()) == {2: losses[2]}
    assert sha256_of(weights) == expected


def test_lora_on_the_full_size_model_goes_on(make_work: MakeWork, full_size: Path) -> None:
    sets = ("method=lora", "batch.per_device=1", "checkpoint.save_steps=1", "pixels.minimum=784", "pixels.maximum=4704")
    changes = {"model": full_size, "member": FAMILY["paddleocr-vl-1.6"], "warmup_steps": 0}
    work = make_work("lora", *sets, max_steps=2, **changes)
    losses = work.losses(work.train_as_child())
    expected = work.weights(2)
    shutil.rmtree(work.checkpoint(2))

    again = work.resumed(1)
    assert again.losses(again.train_as_child()) == {2: losses[2]}
    assert again.weights(2) == expected
