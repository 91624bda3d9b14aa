"""The tiny model is a PaddleOCR-VL like any other, and always the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocrvl_modal.engines.tiny import make_tiny_model
from ocrvl_modal.models import FAMILY, identify_folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_seed_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "again")
    make_tiny_model(tmp_path / "other", seed=1)
    assert contents(tmp_path / "again") == contents(tiny)
    differing = {name for name, data in contents(tmp_path / "other").items() if data != contents(tiny)[name]}
    assert differing == {"model.safetensors"}


def test_it_replaces_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left").touch()
    make_tiny_model(tmp_path / "model")
    assert not (tmp_path / "model" / "left").exists()
    assert identify_folder(tmp_path / "model") is FAMILY["tiny"]


def test_transformers_finds_every_tensor_and_no_other(tiny: Path) -> None:
    from transformers import PaddleOCRVLForConditionalGeneration

    from ocrvl_modal.engines.reader import quiet_transformers

    with quiet_transformers():
        model, info = PaddleOCRVLForConditionalGeneration.from_pretrained(tiny, output_loading_info=True)
    assert not any(info.values())
    assert sum(parameter.numel() for parameter in model.parameters()) == FAMILY["tiny"].parameters
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_transformers_chat_template_and_tokens_are_the_family_s(tiny: Path) -> None:
    from transformers import AutoProcessor

    from ocrvl_modal.engines.reader import load_tokenizer, quiet_transformers

    with quiet_transformers():
        processor = AutoProcessor.from_pretrained(tiny)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "OCR:"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == FAMILY["tiny"].render_prompt("OCR:")
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == load_tokenizer(tiny).encode(text, add_special_tokens=False).ids
    assert processor.tokenizer.decode(processor.tokenizer("a b\nc 1")["input_ids"]) == "a b\nc 1"


def test_it_has_the_tensors_that_only_paddleformers_asks_for(tiny: Path) -> None:
    from safetensors.numpy import load_file

    weights = load_file(tiny / "model.safetensors")
    table = weights["visual.vision_model.embeddings.packing_position_embedding.weight"]
    assert table.shape == (32768, 64)
    assert (weights["lm_head.weight"] == weights["model.embed_tokens.weight"]).all()


@pytest.mark.slow
def test_it_learns_to_read_digits_that_it_never_saw(tmp_path: Path, make_work: Callable[..., Any]) -> None:
    """The demonstration of the quickstart: about half a minute on one thread."""
    from ocrvl_modal.data.rows import read_samples
    from ocrvl_modal.data.synthesis.digits import synthesize_digits
    from ocrvl_modal.engines.reader import Reader
    from ocrvl_modal.evals.metrics import score

    data = synthesize_digits(tmp_path / "digits")
    defaults = ("batch.per_device=16", "checkpoint.save_steps=200")
    work = make_work("learned", *defaults, train=data.train, max_steps=704, warmup_steps=35)
    work.train_as_child()

    test = read_samples(data.test)
    readings = Reader(work.checkpoint(704), FAMILY["tiny"]).read([sample.image for sample in test], "OCR:")
    pairs = zip((reading.text for reading in readings), (sample.target for sample in test), strict=True)
    assert score(pairs).cer <= 0.05
