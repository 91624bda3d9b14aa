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
