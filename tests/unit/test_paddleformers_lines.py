"""Lines that PaddleFormers 1.2.0 really printed, and any other line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.engines import get_engine
from ocrvl_modal.engines.base import CheckpointSaved, EngineFailed, EngineJob, EvaluationLogged, StepLogged
from ocrvl_modal.engines.paddleformers import lines
from ocrvl_modal.engines.trainer.lines import format_error, format_saved
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import recipe_from
from ocrvl_modal.runs.layout import RunLayout

STEP = (
    "\x1b[32m[2026-11-21 12:00:54,761] [    INFO]\x1b[0m - loss: 2.90205431, learning_rate: 0.0001142, global_step: 9,"
    " interval_runtime: 0.1277, interval_samples_per_second: 125.2536,"
    " interval_tokens_per_second_per_device: 64129.8329, interval_steps_per_second: 7.8283, ppl: 18.211519073460238,"
    " progress_or_epoch: 0.9, cpu_used_memory: 0.97, cpu_available_memory: 22.57\x1b[0m"
)
STEP_ON_A_GPU = (
    "[2026-01-19 17:43:11,367] [    INFO] - loss: 12.0635252, learning_rate: 2e-06, global_step: 1,"
    " current_memory_allocated: 7.549170255661011, max_memory_reserved: 7.753737724304199, interval_runtime: 1.1518,"
    " interval_samples_per_second: 0.8682, progress_or_epoch: 0.0"
)
EVALUATION = (
    "[2026-11-21 07:26:26,666] [    INFO] - eval_loss: 4.183432579040527, eval_runtime: 0.0796,"
    " eval_samples_per_second: 100.565, eval_steps_per_second: 25.1413, eval_ppl: 65.59061220252805,"
    " progress_or_epoch: 0.5, cpu_used_memory: 0.75, cpu_available_memory: 22.79"
)
SILENT = [
    "",
    "[2026-11-21 07:26:26,138] [    INFO] - [DataLoad global_step: 1] data_load_time: 27.31 ms (accumulated over 1"
    " micro-batches)",
    "[2026-11-21 12:00:54,901] [    INFO] - global_save_step: 10, progress_or_epoch: 1.0, cpu_used_memory: 0.97",
    "[2026-11-21 07:26:26,354] [    INFO] - Saving model checkpoint to RUN/checkpoint-4",
    "[2026-11-21 08:01:55,467] [    INFO] - train_runtime: 113.0815, train_samples_per_second: 99.0436, train_loss:"
    " 0.5910251380416698, progress_or_epoch: 1.0",
    "[2026-11-21 12:00:54,902] [    INFO] - Total_Tokens_per_second_per_gpu: 63494.031933033635",
    "[2026-11-21 07:26:26,138] [   DEBUG] - the loss: 4.7, learning_rate: 0.1, global_step: 1",
    "loss: 4.7, global_step: 1",
    "loss: 4.7, learning_rate: 0.1, global_step: nan",
    "loss: , learning_rate: 0.1, global_step: 1",
    "eval_loss: much",
    "a page about an ImportError: of goods",
]


def make_job(*sets: str) -> EngineJob:
    layout = RunLayout(Path("somewhere"))
    return EngineJob(
        recipe=recipe_from({"model": {"name": "tiny"}}, sets),
        member=FAMILY["tiny"],
        model=Path("model"),
        train=Path("train.jsonl"),
        validation=None,
        max_steps=10,
        warmup_steps=1,
        attempt=layout.attempt(1),
        checkpoints=layout.checkpoints,
        resume_from=None,
        scratch=Path("scratch"),
    )


JOB = make_job()


def events(*printed: str) -> list[Any]:
    engine = get_engine("paddleformers")
    return [event for line in printed for event in engine.read_line(line, JOB)]


def test_a_step_is_read_through_the_colours_with_the_speed_that_is_no_guess() -> None:
    (event,) = events(STEP)
    assert event == StepLogged(9, 2.90205431, 0.0001142, {"samples_per_second": 125.2536})


def test_a_step_behind_a_progress_bar_is_read() -> None:
    assert events(f"Skipping the first batches:   0%|          | 0/2 [00:00<?, ?it/s]{STEP}") == events(STEP)


def test_a_step_on_a_gpu_tells_its_memory() -> None:
    (event,) = events(STEP_ON_A_GPU)
    assert (event.step, event.learning_rate) == (1, 2e-06)
    assert event.more == {"samples_per_second": 0.8682, "gpu_memory_gib": 7.753737724304199}


def test_an_evaluation_belongs_to_the_step_before_it() -> None:
    assert events(STEP, EVALUATION)[1] == EvaluationLogged(9, 4.183432579040527)
    assert events(EVALUATION) == []


def test_a_checkpoint_is_told_by_our_own_line_and_not_by_the_beginning_of_its_writing() -> None:
    (event,) = events("Saving model checkpoint to RUN/checkpoint-4", format_saved(4))
    assert event == CheckpointSaved(4, JOB.checkpoints / "checkpoint-4")


@pytest.mark.parametrize("line", SILENT)
def test_other_lines_that_name_steps_or_losses_tell_nothing(line: str) -> None:
    assert events(line) == []


def test_an_error_in_our_own_words_comes_through_as_it_is() -> None:
    told = OcrvlError("line 3: there is no image x.png", "ocrvl data check f", ExitCode.DATA_INVALID)
    (event,) = events(format_error(told))
    assert isinstance(event, EngineFailed)
    assert (event.error.message, event.error.code) == (told.message, told.code)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("ResourceExhaustedError: ", "too small for batches of 16", "gradient_checkpointing=true"),
        ("Out of memory error on GPU 0. Cannot allocate 2.0GB memory", "too small", "gradient_checkpointing=true"),
        ("MemoryError", "too small", "gradient_checkpointing=true"),
        (
            "ValueError: PaddleRecall error(102): LossNan. Loss contains inf or nan values, its value is nan",
            "diverged",
            "optimizer.learning_rate=0.001",
        ),
        ("ModuleNotFoundError: No module named 'paddle'", "cannot run here", "ocrvl-modal[paddle]"),
        ("ImportError: cannot import name 'x' from 'pyarrow.lib'", "cannot run here", "ocrvl-modal[paddle]"),
        (
            "ValueError: Some specified arguments are not used by the PdArgumentParser: ['optim']",
            "not the version",
            "ocrvl-modal[paddle]",
        ),
        ("FileNotFoundError: file train.jsonl not exists", "misses a file", "ocrvl data check"),
    ],
)
def test_a_known_failure_gets_words_and_what_mends_it(line: str, message: str, hint: str) -> None:
    (event,) = events(line)
    assert isinstance(event, EngineFailed)
    assert message in event.error.message
    assert hint in event.error.hint


def test_too_little_memory_with_recomputing_on_already_asks_for_a_smaller_batch() -> None:
    job = make_job("gradient_checkpointing=true")
    (event,) = get_engine("paddleformers").read_line("MemoryError", job)
    assert isinstance(event, EngineFailed)
    assert "batch.per_device=8" in event.error.hint


fragments = st.sampled_from(["loss: ", "eval_loss: ", "global_step: ", "learning_rate: ", "nan", "inf", "1e999", ", "])


@given(st.lists(st.one_of(st.text(), fragments, st.floats().map(str))).map("".join))
def test_no_line_makes_it_raise(line: str) -> None:
    lines.read(line)
    events(line)


@given(st.integers(0, 10**6), st.floats(allow_nan=False), st.floats(min_value=0, allow_infinity=False))
def test_every_number_that_python_prints_is_read(step: int, loss: float, rate: float) -> None:
    read = lines.read(f"loss: {loss}, learning_rate: {rate}, global_step: {step}, ppl: 1.0")
    assert read == StepLogged(step, loss, rate, {})
