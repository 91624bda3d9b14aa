"""Headers alone tell what decoding tells, whichever rows are glanced at and whichever examined."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from data.pictures import line, scaled, words
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.whole import How, check_dataset
from ocrvl_modal.engines.tokens import batch_counter
from ocrvl_modal.models import FAMILY

TINY = FAMILY["tiny"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Sixty rows, of which some have no image, half of one, one that is too thin, or too long a target."""
    chance = Random(2)
    rows = []
    for number in range(60):
        image = tmp_path / f"{number}.{'jpg' if number % 3 else 'png'}"
        line(words(chance, 3)).save(image)
        target = "1" * (90 if number % 20 == 7 else 12)
        turns = [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": target}]
        rows.append(json.dumps({"messages": turns, "images": [image.name]}))
    (tmp_path / "10.jpg").unlink()
    half = (tmp_path / "11.jpg").read_bytes()
    (tmp_path / "11.jpg").write_bytes(half[: len(half) // 2])
    scaled(line("x"), 3).resize((6000, 28)).save(tmp_path / "12.png")
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("max_seq_len", [40, 100, 512])
def test_headers_tell_what_decoding_tells(dataset: Path, tiny: Path, max_seq_len: int, *, counted: bool) -> None:
    demands = Demands(tuple(TINY.prompts.values()), TINY.pixels, max_seq_len)
    count_many = batch_counter(tiny) if counted else None
    decoded, glanced = (check_dataset(dataset, demands, How("all", decode, count_many)) for decode in (True, False))
    expected = {"image_missing": 1, "image_truncated": 1, "image_shape": 1}
    assert expected.items() <= glanced.counts.items()
    assert ("too_long" in glanced.counts) == (counted and max_seq_len <= 100)
    assert glanced.counts == decoded.counts
    for name in ("rows", "samples", "by_prompt", "vision_tokens", "target_characters", "sequence_tokens_max"):
        assert getattr(glanced, name) == getattr(decoded, name), name
    assert [finding.line for group in glanced.findings for finding in group.examples] == [
        finding.line for group in decoded.findings for finding in group.examples
    ]
