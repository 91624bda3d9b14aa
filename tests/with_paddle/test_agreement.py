"""PaddleFormers against our own engine: the same numbers, from the data to the exported weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ocrvl_modal.engines.export import export_model
from ocrvl_modal.models import FAMILY
from with_paddle.conftest import Run
from with_paddle.expected import loss_of

MakeRun = Callable[..., Run]

TOLERANCE = 2e-4
"""Two frameworks add float32 numbers in different orders: over 20 steps the losses came to differ by 2e-5 at most."""


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_export_computes_the_loss_that_training_had_come_to(
    make_run: MakeRun, one_batch: Path, tmp_path: Path, method: str
) -> None:
    run = make_run("exported", f"method={method}", train=one_batch, warmup_steps=0)
    losses = run.finish().losses
    out = tmp_path / "export"
    export_model(
        checkpoint=run.checkpoint(4), base=run.job.model, method=run.job.recipe.method, member=FAMILY["tiny"], out=out
    )
    # A step's loss is that of the weights before it.
    assert loss_of(out, run.job, one_batch) == pytest.approx(losses[5], abs=TOLERANCE)
    assert losses[5] < losses[1] - 0.1


def test_the_evaluation_loss_counts_each_sample_once(
    make_run: MakeRun, one_batch: Path, digits: Path, tmp_path: Path
) -> None:
    run = make_run("evaluated", train=one_batch, validation=digits / "validation.jsonl", warmup_steps=0)
    evaluations = run.finish().evaluations
    out = tmp_path / "export"
    export_model(checkpoint=run.checkpoint(4), base=run.job.model, method="full", member=FAMILY["tiny"], out=out)
    assert evaluations[4] == pytest.approx(loss_of(out, run.job, digits / "validation.jsonl"), abs=TOLERANCE)
    assert list(evaluations) == [4, 8]


def test_validation_images_are_never_augmented(make_run: MakeRun, digits: Path) -> None:
    sets = ("evaluation.eval_steps=1", "data.max_seq_len=4096")
    # The first step of a warm-up has a rate of zero, so both evaluate the same weights.
    plain, augmented = (
        make_run(f"augmented-{word}", f"data.augmentation={word}", *sets, validation=digits / "test.jsonl", max_steps=1)
        for word in ("false", "true")
    )
    losses = plain.finish().evaluations[1], augmented.finish().evaluations[1]
    assert losses[0] == pytest.approx(losses[1], abs=TOLERANCE)
