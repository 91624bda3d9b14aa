"""What is learned: the samples as they are encoded, and the loss and gradients that come of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.engines.reader import load_model
from ocrvl_modal.engines.trainer import model as trainer_model
from ocrvl_modal.engines.trainer.batches import Batch, batches, collate
from ocrvl_modal.engines.trainer.config import TrainerConfig, read_config
from ocrvl_modal.engines.trainer.model import LORA_TARGETS, LossModel, build_model
from ocrvl_modal.engines.trainer.optimizer import build_optimizer
from ocrvl_modal.engines.trainer.samples import Encoded, SampleEncoder, load_samples
from ocrvl_modal.engines.transformers import TransformersEngine
from ocrvl_modal.errors import ExitCode, OcrvlError

MakeWork = Callable[..., Any]
SIZES = ((168, 28), (56, 84), (28, 200), (300, 60))


@pytest.fixture
def make_config(make_work: MakeWork) -> Callable[..., TrainerConfig]:
    def make(*sets: str, **changes: Any) -> TrainerConfig:
        return read_config(TransformersEngine().write_config(make_work("run", *sets, **changes).job))

    return make


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Samples whose images and targets have very different sizes."""
    made = []
    for line, (width, height) in enumerate(SIZES, start=1):
        image = tmp_path / f"{line}.png"
        Image.effect_noise((width, height), 80).convert("RGB").save(image)
        made.append(Sample(image, "OCR:", "12345678"[: 2 * line], line))
    return made


def as_transformers_trains(model: Any, encoded: list[Encoded]) -> torch.Tensor:
    """The mean loss by the model's own forward pass, of one sample after another."""
    total = torch.zeros(())
    count = 0
    for item in encoded:
        tokens = item.tokens[None]
        labels = tokens.clone()
        labels[:, : item.prompt_length] = -100
        output = model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            labels=labels,
            mm_token_type_ids=(tokens == model.config.image_token_id).int(),
            pixel_values=item.pixels,
            image_grid_thw=item.grid,
        )
        targets = len(item.tokens) - item.prompt_length
        total = total + output.loss * targets
        count += targets
    return total / count


def test_loss_and_gradients_are_those_of_transformers(
    make_config: Callable[..., TrainerConfig], samples: list[Sample]
) -> None:
    config = make_config()
    encoder = SampleEncoder(config)
    encoded = [encoder.encode(sample) for sample in samples]
    batch = collate(encoded)
    ours, theirs = build_model(config), load_model(config.model, torch.float32)

    loss = LossModel(ours)(batch) / len(batch.targets)
    expected = as_transformers_trains(theirs, encoded)
    loss.backward()
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_positions_are_those_of_transformers(make_config: Callable[..., TrainerConfig], samples: list[Sample]) -> None:
    config = make_config()
    encoder, model = SampleEncoder(config), load_model(config.model, torch.float32)
    for sample in samples:
        item = encoder.encode(sample)
        tokens = item.tokens[None]
        kinds = (tokens == model.config.image_token_id).int()
        expected, _ = model.model.get_rope_index(tokens, kinds, image_grid_thw=item.grid)
        assert torch.equal(item.positions, expected[:, 0])


def test_a_sample_is_as_long_as_it_was_measured(
    make_config: Callable[..., TrainerConfig], samples: list[Sample]
) -> None:
    encoder = SampleEncoder(make_config())
    for sample in samples:
        item = encoder.encode(sample)
        assert encoder.measure(sample) == (len(item.tokens), len(item.tokens) - item.prompt_length)


def test_the_text_is_the_prompt_the_target_and_the_end(
    make_config: Callable[..., TrainerConfig], samples: list[Sample], tiny: Path
) -> None:
    from tokenizers import Tokenizer

    config = make_config()
    item = SampleEncoder(config).encode(samples[0])
    text = Tokenizer.from_file(str(tiny / "tokenizer.json")).decode(item.tokens.tolist(), skip_special_tokens=False)
    placeholder = "<|IMAGE_PLACEHOLDER|>"
    assert text.count(placeholder) == 6
    assert text.replace(placeholder * 6, placeholder) == config.render_prompt("OCR:") + "12</s>"


def test_padding_and_company_change_no_sample_s_loss(
    make_config: Callable[..., TrainerConfig], samples: list[Sample]
) -> None:
    config = make_config()
    encoder, loss_model = SampleEncoder(config), LossModel(build_model(config))
    encoded = [encoder.encode(sample) for sample in samples]
    apart = sum(loss_model(collate([item])).item() for item in encoded)
    assert loss_model(collate(encoded)).item() == pytest.approx(apart, rel=1e-5)


def test_logits_in_pieces_give_the_same_loss_and_gradients(
    make_config: Callable[..., TrainerConfig], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    encoder = SampleEncoder(config)
    batch = collate([encoder.encode(sample) for sample in samples])
    whole, pieces = LossModel(build_model(config)), LossModel(build_model(config))
    expected = whole(batch)
    expected.backward()

    monkeypatch.setattr(trainer_model, "_LOGITS_AT_ONCE", 5 * 108)
    assert len(batch.targets) > 15
    loss = pieces(batch)
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, other in zip(pieces.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, other.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("targets", LORA_TARGETS)
def test_lora_adapts_every_linear_layer_of_its_target_and_no_other(
    make_config: Callable[..., TrainerConfig], targets: str
) -> None:
    model = build_model(make_config("method=lora", f"lora.targets={targets}"))
    adapted = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    linear = {
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    }
    head = {"base_model.model.lm_head"}
    expected = linear - head if targets == "all" else {name for name in linear if "language_model" in name}
    assert adapted == expected
    assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)


def test_biases_and_norms_are_not_decayed(make_config: Callable[..., TrainerConfig]) -> None:
    config = make_config("optimizer.weight_decay=0.25")
    decayed, spared = build_optimizer(build_model(config), config).param_groups
    assert decayed["weight_decay"] == 0.25
    assert spared["weight_decay"] == 0.0
    assert all(parameter.dim() >= 2 for parameter in decayed["params"])
    assert all(parameter.dim() == 1 for parameter in spared["params"])


def test_a_sample_that_is_too_long_is_named_before_training(make_config: Callable[..., TrainerConfig]) -> None:
    config = make_config("data.max_seq_len=19")
    with pytest.raises(OcrvlError, match=r"line 1: the sample has 20 tokens") as caught:
        load_samples(config, SampleEncoder(config), config.train)
    assert caught.value.code is ExitCode.DATA_INVALID


def test_a_sample_that_just_fits_is_trained_on(make_config: Callable[..., TrainerConfig]) -> None:
    config = make_config("data.max_seq_len=20")
    assert set(load_samples(config, SampleEncoder(config), config.train).lengths) == {20}


def test_an_image_that_vanishes_while_training_is_named(
    make_config: Callable[..., TrainerConfig], digits: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(digits, tmp_path / "copy")
    config = make_config(train=tmp_path / "copy" / "train.jsonl")
    loaded = load_samples(config, SampleEncoder(config), config.train)
    read_samples(config.train)[4].image.unlink()
    for num_workers in (0, 1):
        with pytest.raises(OcrvlError, match="line 5: there is no image") as caught:
            list(batches(loaded, iter([[0, 1], [4, 5]]), num_workers, torch.device("cpu")))
        assert caught.value.code is ExitCode.DATA_INVALID
        assert "ocrvl data check" in caught.value.hint


def test_a_decoded_sample_is_kept(make_config: Callable[..., TrainerConfig]) -> None:
    config = make_config()
    loaded = load_samples(config, SampleEncoder(config), config.train)
    assert loaded[3] is loaded[3]


def test_nothing_is_kept_where_worker_processes_decode(make_config: Callable[..., TrainerConfig]) -> None:
    config = make_config("batch.num_workers=1")
    loaded = load_samples(config, SampleEncoder(config), config.train)
    assert loaded[3] is not loaded[3]


def test_a_batch_keeps_all_its_parts_when_it_moves(
    make_config: Callable[..., TrainerConfig], samples: list[Sample]
) -> None:
    encoder = SampleEncoder(make_config())
    batch = collate([encoder.encode(sample) for sample in samples])
    moved = batch.to(torch.device("cpu"))
    assert isinstance(moved, Batch)
    assert all(torch.equal(getattr(moved, name), tensor) for name, tensor in vars(batch).items())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_come_in_their_order_and_draw_no_random_number(
    make_config: Callable[..., TrainerConfig], num_workers: int
) -> None:
    config = make_config()
    loaded = load_samples(config, SampleEncoder(config), config.train)
    order = [[5, 3], [0, 60], [7, 7], [1, 2]]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    made = list(batches(loaded, iter(order), num_workers, torch.device("cpu")))
    assert torch.equal(torch.get_rng_state(), before)
    for batch, micro_batch in zip(made, order, strict=True):
        assert torch.equal(batch.tokens, collate([loaded[index] for index in micro_batch]).tokens)
