"""A run that goes on at a checkpoint ends where the undisturbed run ends, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MakeWork = Callable[..., Any]

WAYS = {
    "full": (),
    "accumulation": ("batch.gradient_accumulation=3", "batch.per_device=2"),
    "gradient checkpointing": ("gradient_checkpointing=true",),
    "lora": ("method=lora", "lora.rank=4"),
    "lora with dropout": ("method=lora", "lora.dropout=0.3", "lora.targets=language", "batch.gradient_accumulation=2"),
    "worker processes": ("batch.num_workers=2",),
}


@pytest.mark.parametrize("sets", WAYS.values(), ids=WAYS.keys())
def test_a_resumed_run_ends_bit_identical(
    make_work: MakeWork, capsys: pytest.CaptureFixture[str], sets: tuple[str, ...]
) -> None:
    straight = make_work("straight", *sets)
    assert straight.train_here()
    expected = straight.losses(capsys.readouterr().out)

    first = make_work("cut", *sets, max_steps=6)
    assert first.train_here()
    before = first.losses(capsys.readouterr().out)
    (again := first.resumed(3)).checkpoint(6).rename(first.checkpoints / "elsewhere")
    assert again.train_here()
    after = again.losses(capsys.readouterr().out)

    assert list(after) == [4, 5, 6]
    assert before == expected
    assert {**before, **after} == expected
    assert again.weights(6) == straight.weights(6)
