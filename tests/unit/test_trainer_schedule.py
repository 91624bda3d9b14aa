"""The course of the learning rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.engines.trainer.config import ScheduleConfig
from ocrvl_modal.engines.trainer.schedule import learning_rate

KINDS = ("cosine", "linear", "constant")


def schedule(kind: str = "cosine", max_steps: int = 100, warmup_steps: int = 10, lowest: float = 0.1) -> ScheduleConfig:
    return ScheduleConfig(kind=kind, max_steps=max_steps, warmup_steps=warmup_steps, min_learning_rate_ratio=lowest)


@pytest.mark.parametrize("kind", KINDS)
def test_the_warm_up_rises_in_a_line_to_the_peak(kind: str) -> None:
    rates = [learning_rate(step, 2.0, schedule(kind)) for step in range(1, 12)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10] == 2.0


@pytest.mark.parametrize(("kind", "middle"), [("cosine", 0.55), ("linear", 0.55), ("constant", 1.0)])
def test_the_middle_is_halfway_between_peak_and_minimum(kind: str, middle: float) -> None:
    assert learning_rate(51, 1.0, schedule(kind, warmup_steps=0)) == pytest.approx(middle)


def test_cosine_leaves_the_peak_more_slowly_than_a_line() -> None:
    assert learning_rate(20, 1.0, schedule("cosine")) > learning_rate(20, 1.0, schedule("linear"))


@given(st.sampled_from(KINDS), st.integers(1, 300), st.integers(0, 300), st.floats(0, 1), st.integers(1, 300))
def test_the_rate_stays_between_its_bounds_and_never_rises_after_the_warm_up(
    kind: str, max_steps: int, warmup_steps: int, lowest: float, step: int
) -> None:
    course = schedule(kind, max_steps, min(warmup_steps, max_steps), lowest)
    step = min(step, max_steps)
    rate = learning_rate(step, 1.0, course)
    assert 0 < rate <= 1 or lowest == 0
    if course.warmup_steps < step < max_steps:
        assert lowest <= learning_rate(step + 1, 1.0, course) <= rate


def test_a_run_of_one_step_learns() -> None:
    assert learning_rate(1, 3e-3, schedule(max_steps=1, warmup_steps=0, lowest=0.0)) == 3e-3
