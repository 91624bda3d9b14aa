"""Reading what ERNIEKit prints: the step line is one that a user of release/v1.5 posted, the rest has its shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.engines.base import CheckpointSaved, EngineFailed, StepLogged
from ocrvl_modal.engines.erniekit import ErnieKitEngine, lines

RECORDED = Path(__file__).with_name("recorded") / "release-1.5.txt"


def test_a_recorded_run_is_read_line_by_line(engine: ErnieKitEngine, make_job: Callable[..., Any]) -> None:
    job = make_job()
    (job.checkpoints / "checkpoint-2").mkdir()
    read = [(line, engine.read_line(line, job)) for line in RECORDED.read_text().splitlines()]
    events = [event for _, found in read for event in found]
    first, second, saved, third, failed = events
    assert first == StepLogged(
        1,
        22.995561599731445,
        1.666667e-06,
        {
            "mem_allocated_gb": 13.636426,
            "max_mem_allocated_gb": 19.670876,
            "mem_reserved_gb": 33.954417,
            "max_mem_reserved_gb": 45.060626,
            "loss_scale": 32770.0,
            "global_runtime": 104.8954,
            "global_samples_per_second": 0.6101,
            "global_steps_per_second": 0.0095,
            "progress_or_epoch": 0.0077,
        },
    )
    assert isinstance(second, StepLogged)
    assert (second.step, second.loss, second.learning_rate) == (2, 3.25, 0.0012)
    assert saved == CheckpointSaved(2, job.checkpoints / "checkpoint-2")
    assert isinstance(third, StepLogged)
    assert math.isnan(third.loss)
    assert isinstance(failed, EngineFailed)
    assert "NaN" in failed.error.message


def test_a_checkpoint_does_not_count_while_it_may_still_be_written(
    engine: ErnieKitEngine, make_job: Callable[..., Any]
) -> None:
    job = make_job()
    (job.checkpoints / "checkpoint-2").mkdir()
    shape = "[2026-01-19 17:43:11,367] [    INFO] - loss: 1.0, learning_rate: 0.1, global_step: {}"
    (event,) = engine.read_line(shape.format(2), job)
    assert isinstance(event, StepLogged)
    assert [type(event) for event in engine.read_line(shape.format(3), job)] == [CheckpointSaved, StepLogged]
    assert engine.read_line("[2026] [    INFO] - save_ckpt_time_sec: 1.0, global_save_step: 2", job) == ()


def test_checkpoints_of_earlier_attempts_are_left_alone(engine: ErnieKitEngine, make_job: Callable[..., Any]) -> None:
    job = make_job()
    for step in (2, 4, 6):
        (job.checkpoints / f"checkpoint-{step}").mkdir()
    again = make_job(name="b", checkpoints=job.checkpoints, resume_from=job.checkpoints / "checkpoint-4")
    line = "[2026-01-19 17:43:11,367] [    INFO] - loss: 1.0, learning_rate: 0.1, global_step: 7"
    assert [event.step for event in engine.read_line(line, again) if isinstance(event, CheckpointSaved)] == [6]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ValueError: Output directory (/outputs/a/checkpoints) already exists and is not empty. Use", "no checkpoint"),
        ("ModuleNotFoundError: No module named 'paddle.distributed.flex_checkpoint'", "3.2"),
        ("ImportError: cannot import name 'PrefixModelForCausalLM' from 'paddleformers.peft' (x)", "0.4"),
        ("ModuleNotFoundError: No module named 'paddle'", "not wholly installed"),
        ("safetensors_rust.SafetensorError: framework paddle is invalid", "safetensors"),
        ("Out of memory error on GPU 0. Cannot allocate 2.0GB memory on GPU 0", "out of memory"),
        (
            "ERROR: Unexpected bus error encountered in worker. This might be insufficient shared memory",
            "shared memory",
        ),
    ],
)
def test_known_failures_have_words_and_a_hint(line: str, words: str) -> None:
    error = lines.parse_failure(line, "my-run")
    assert error is not None
    assert words in error.message
    assert error.hint
    assert "NAME" not in error.hint


@given(st.text() | st.from_regex(r"\[x\] \[ *INFO\] - (loss|global_step|learning_rate): [\d.e+-]{1,9}(, \w+: \S+)*"))
def test_no_line_makes_reading_fail(line: str) -> None:
    lines.parse_step(line)
    lines.parse_saved(line)
    lines.parse_failure(line, "a")
