"""What a sample becomes in PaddleFormers' real data pipeline, against the model's own files and our own engine."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.engines.prompt_identity import check_prompt_identity
from ocrvl_modal.engines.reader import load_tokenizer
from ocrvl_modal.models import FAMILY
from with_paddle.conftest import Run
from with_paddle.expected import encoded

MakeRun = Callable[..., Run]
SPY = Path(__file__).with_name("spy.py")


def first_batch(run: Run, *, template: str | None = None) -> dict[str, Any]:
    """Return the first sample as PaddleFormers batches it, with our template or one of its own."""
    prepared = run.prepare()
    config = yaml.safe_load(run.job.attempt.engine_config.read_text())
    changes = {"custom_register_path": str(SPY), "template": template or config["template"]}
    run.job.attempt.engine_config.write_text(yaml.safe_dump({**config, **changes}))
    out = run.job.scratch / "seen.json"
    environment = {"SPY_OUT": str(out), "SPY_BUILT_IN": "1" if template else ""}
    spied = replace(run, environment=environment).start(prepared)
    assert out.is_file(), spied.printed[-3000:]
    seen: dict[str, Any] = json.loads(out.read_text())
    return seen


@pytest.fixture
def one_sample(tmp_path: Path, digits: Path) -> Path:
    """A dataset of one sample."""
    return write_row(tmp_path / "one.jsonl", read_samples(digits / "train.jsonl")[0].image, "OCR:", "12 ab</td>")


def write_row(path: Path, image: Path, prompt: str, target: str) -> Path:
    messages = [{"role": "user", "content": f"<image>{prompt}"}, {"role": "assistant", "content": target}]
    path.write_text(json.dumps({"messages": messages, "images": [str(image)]}) + "\n")
    return path


def with_newline_tail(model: Path, folder: Path) -> Path:
    """Return the tiny model as 1.5 and 1.6 are prompted."""
    shutil.copytree(model, folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace('"Assistant: "', '"Assistant:\\n"'))
    return folder


def run_of(make_run: MakeRun, tail: str, tmp_path: Path, *sets: str, train: Path) -> Run:
    run = make_run("data", "data.max_seq_len=4096", *sets, train=train)
    if tail == "Assistant: ":
        return run
    member = replace(FAMILY["tiny"], assistant_tail=tail)
    return replace(run, job=replace(run.job, member=member, model=with_newline_tail(run.job.model, tmp_path / "model")))


@pytest.mark.parametrize("tail", ["Assistant: ", "Assistant:\n"])
def test_a_sample_has_the_tokens_that_the_model_s_own_chat_template_gives(
    make_run: MakeRun, tmp_path: Path, one_sample: Path, tail: str
) -> None:
    run = run_of(make_run, tail, tmp_path, train=one_sample)
    seen = first_batch(run)
    # The prompt that this package renders is the one of the model's chat template …
    check_prompt_identity(run.job.model, run.job.member, ["OCR:"])
    prompt = load_tokenizer(run.job.model).encode(run.job.member.render_prompt("OCR:"), add_special_tokens=False)
    # … and what PaddleFormers trains on is that prompt, with the image's tokens, and the target.
    (item,) = encoded(run.job, one_sample)
    assert seen["tokens"] == item.tokens.tolist()
    place = prompt.tokens.index("<|IMAGE_PLACEHOLDER|>")
    assert seen["tokens"][:place] == prompt.ids[:place]
    assert seen["tokens"][: item.prompt_length][place - len(prompt.ids) + 1 :] == prompt.ids[place + 1 :]


def test_only_the_target_and_its_end_are_learned(make_run: MakeRun, tmp_path: Path, one_sample: Path) -> None:
    run = run_of(make_run, "Assistant:\n", tmp_path, train=one_sample)
    seen = first_batch(run)
    (item,) = encoded(run.job, one_sample)
    learned = item.tokens.tolist()[item.prompt_length :]
    # Each label is the token that comes next.
    assert seen["labels"] == [-100] * (item.prompt_length - 1) + learned + [-100]


def test_the_template_that_paddleformers_brings_asks_1_5_and_1_6_wrongly(
    make_run: MakeRun, tmp_path: Path, one_sample: Path
) -> None:
    run = run_of(make_run, "Assistant:\n", tmp_path, train=one_sample)
    (item,) = encoded(run.job, one_sample)
    built_in = first_batch(replace(run, environment={}), template="paddleocr_vl")
    assert built_in["tokens"] != item.tokens.tolist()


@pytest.mark.parametrize("kind", ["rgb", "transparent", "grey of 16 bits", "palette", "large"])
def test_every_kind_of_image_becomes_the_pixels_that_reading_gives_it(
    make_run: MakeRun, tmp_path: Path, kind: str
) -> None:
    image = make_image(kind)
    path = tmp_path / "image.png"
    image.save(path)
    rows = write_row(tmp_path / "one.jsonl", path, "OCR:", "x")
    run = make_run("pixels", "data.max_seq_len=4096", train=rows)
    seen = first_batch(run)
    (item,) = encoded(run.job, rows)
    assert seen["grid"] == item.grid[0].tolist()
    assert seen["pixels"] == pytest.approx(item.pixels.flatten().tolist(), abs=1e-5)


def make_image(kind: str) -> Image.Image:
    chance = random.Random(3)
    width, height = (900, 420) if kind == "large" else (97, 41)
    if kind == "grey of 16 bits":
        grey = Image.new("I;16", (width, height))
        grey.putdata([chance.randrange(65_536) for _ in range(width * height)])
        return grey
    mode = "RGBA" if kind == "transparent" else "RGB"
    image = Image.new(mode, (width, height))
    image.putdata([tuple(chance.randrange(256) for _ in mode) for _ in range(width * height)])
    return image.quantize(16) if kind == "palette" else image


def test_images_are_changed_by_chance_only_where_the_recipe_asks_for_it(
    make_run: MakeRun, tmp_path: Path, one_sample: Path
) -> None:
    plain = [first_batch(make_run("p", f"seed={seed}", train=one_sample))["pixels"] for seed in (1, 2)]
    assert plain[0] == plain[1]
    several = [
        first_batch(make_run("a", f"seed={seed}", "data.augmentation=true", train=one_sample))["pixels"]
        for seed in range(1, 5)
    ]
    assert any(pixels != plain[0] for pixels in several)
