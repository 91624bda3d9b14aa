from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, models

from ocrvl_modal.engines.images import image_processor
from ocrvl_modal.engines.reader import Reader, control_tokens
from ocrvl_modal.engines.tiny import VOCABULARY, make_tiny_model
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY, PixelLimits

TINY = FAMILY["tiny"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(folder, seed=3)
    return folder


@pytest.fixture(scope="module")
def reader(model: Path) -> Reader:
    return Reader(model, TINY)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Images of several sizes that an untrained model answers differently."""
    paths = []
    for number, size in enumerate([(168, 28), (56, 56), (28, 28), (200, 40), (168, 28), (90, 60)]):
        image = Image.new("RGB", size, "white")
        ImageDraw.Draw(image).rectangle((number, 2, 5 + 4 * number, 20), fill=(40 * number, 0, 255 - 30 * number))
        path = tmp_path / f"{number}.png"
        image.save(path)
        paths.append(path)
    return paths


def change_weights(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_readings_do_not_depend_on_the_batch(reader: Reader, images: list[Path]) -> None:
    alone = reader.read(images, "OCR:", max_new_tokens=12, batch_size=1)
    together = reader.read(images, "OCR:", max_new_tokens=12, batch_size=4)
    assert [reading.error for reading in alone] == [None] * len(images)
    assert len({reading.text for reading in alone}) > 1
    assert together == alone


def test_a_file_its_bytes_and_an_open_image_read_alike(reader: Reader, images: list[Path]) -> None:
    path = images[0]
    with Image.open(path) as opened:
        readings = reader.read([path, path.read_bytes(), opened], "OCR:", max_new_tokens=8)
    assert readings[0] == readings[1] == readings[2]


def test_a_broken_image_does_not_keep_the_others_from_being_read(
    reader: Reader, images: list[Path], tmp_path: Path
) -> None:
    broken, cut_off, thin = tmp_path / "broken.png", tmp_path / "cut-off.png", tmp_path / "thin.png"
    broken.write_text("this is text")
    Image.effect_noise((64, 64), 50).save(cut_off)
    cut_off.write_bytes(cut_off.read_bytes()[:-900])
    Image.new("RGB", (28 * 201, 28)).save(thin)
    asked = [images[0], broken, images[1], cut_off, thin, tmp_path / "gone.png"]
    readings = reader.read(asked, "OCR:", max_new_tokens=8, batch_size=3)
    assert readings[0] == reader.read(images[:1], "OCR:", max_new_tokens=8)[0]
    assert readings[2] == reader.read(images[1:2], "OCR:", max_new_tokens=8)[0]
    errors = [reading.error or "" for reading in readings]
    assert "broken.png is not an image" in errors[1]
    assert "cut-off.png cannot be read" in errors[3]
    assert "aspect ratio" in errors[4]
    assert "there is no image" in errors[5]
    assert all(readings[index].text == "" for index in (1, 3, 4, 5))


def test_progress_ends_with_every_image_counted(reader: Reader, images: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    asked = [*images, tmp_path / "gone.png"]
    reader.read(asked, "OCR:", max_new_tokens=2, batch_size=3, on_progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(3, 7), (6, 7), (7, 7)]


def test_a_reading_that_hits_the_limit_says_so(reader: Reader, images: list[Path]) -> None:
    long, short = (reader.read(images[:1], "OCR:", max_new_tokens=limit)[0] for limit in (20, 3))
    assert (long.tokens, long.truncated) == (20, True)
    assert (short.tokens, short.truncated) == (3, True)
    assert long.text.startswith(short.text)


def test_a_reading_ends_at_the_models_end_token(reader: Reader, copy: Path, images: list[Path]) -> None:
    endless = reader.read(images[:1], "OCR:", max_new_tokens=20)[0]
    last = endless.text[-1]
    settings = json.loads((copy / "generation_config.json").read_text())
    settings["eos_token_id"] = [settings["eos_token_id"], VOCABULARY[last]]
    (copy / "generation_config.json").write_text(json.dumps(settings))
    ended = Reader(copy, TINY).read(images[:2], "OCR:", max_new_tokens=20)[0]
    assert ended.text == endless.text[: endless.text.index(last)]
    assert ended.tokens < 20
    assert not ended.truncated


def test_reading_prints_nothing(model: Path, images: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    Reader(model, TINY).read(images[:2], "OCR:", max_new_tokens=4)
    assert capfd.readouterr() == ("", "")


def test_a_batch_too_large_for_the_memory_is_read_in_parts(
    reader: Reader, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = reader.read(images, "OCR:", max_new_tokens=6)
    generate = reader._model.generate

    def generate_with_little_memory(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(reader._model, "generate", generate_with_little_memory)
    assert reader.read(images, "OCR:", max_new_tokens=6) == expected


def test_a_prompt_that_fills_the_model_is_an_error_of_the_image(reader: Reader, images: list[Path]) -> None:
    reading = reader.read(images[:1], "a" * 5000, max_new_tokens=4)[0]
    assert "of the model's 4096 tokens" in (reading.error or "")


def test_a_prompt_with_an_image_placeholder_is_a_usage_error(reader: Reader, images: list[Path]) -> None:
    with pytest.raises(OcrvlError, match="placeholder") as caught:
        reader.read(images[:1], "OCR:<|IMAGE_PLACEHOLDER|>", max_new_tokens=4)
    assert caught.value.code is ExitCode.USAGE


def test_a_whole_model_passes_its_check(reader: Reader) -> None:
    reader.check()


def test_a_model_that_diverged_fails_its_check(copy: Path) -> None:
    change_weights(copy, lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(OcrvlError, match="infinities or no numbers"):
        Reader(copy, TINY).check()


def test_a_missing_tensor_is_named(copy: Path) -> None:
    change_weights(copy, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(OcrvlError, match=r"missing tensors: .*layers\.1\.mlp\.up_proj"):
        Reader(copy, TINY)


def test_a_tensor_of_another_shape_is_an_error(copy: Path) -> None:
    change_weights(copy, lambda tensors: tensors.update({"model.norm.weight": torch.ones(7)}))
    with pytest.raises(OcrvlError, match="copy"):
        Reader(copy, TINY)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "preprocessor_config.json"])
def test_a_model_file_that_was_cut_off_is_an_error(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(OcrvlError, match="copy"):
        Reader(copy, TINY)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "preprocessor_config.json"])
def test_a_missing_model_file_is_an_error(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(OcrvlError, match="copy"):
        Reader(copy, TINY)


def test_marks_are_not_printed_but_places_of_spotting_are() -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("</s>", "<|LOC_0|>", "<|LOC_1000|>")])
    tokenizer.add_tokens(["OCR:"])
    assert control_tokens(tokenizer) == {tokenizer.token_to_id("</s>")}


def test_asked_pixel_limits_go_before_the_models_own(model: Path) -> None:
    image = Image.new("RGB", (280, 280))
    by_the_model = image_processor(model)(images=[image], return_tensors="pt")["image_grid_thw"]
    by_the_asker = image_processor(model, PixelLimits(784, 100 * 784))(images=[image], return_tensors="pt")
    own = json.loads((model / "preprocessor_config.json").read_text())
    assert int(by_the_model.prod()) * 196 <= own["max_pixels"]
    assert by_the_asker["image_grid_thw"].tolist() == [[1, 20, 20]]
