"""The learning rate of each step: a pure function."""

from __future__ import annotations

import math

from ocrvl_modal.engines.trainer.config import ScheduleConfig


def learning_rate(step: int, peak: float, schedule: ScheduleConfig) -> float:
    """Return the learning rate of ``step``, which counts from 1.

    It rises in a line to ``peak`` over the warm-up, stands at the peak in the step after it, and falls towards the
    minimum, which the step after the last would have: a run of one step still learns.
    """
    if step <= schedule.warmup_steps:
        return peak * step / schedule.warmup_steps
    if schedule.kind == "constant":
        return peak
    done = (step - 1 - schedule.warmup_steps) / max(1, schedule.max_steps - schedule.warmup_steps)
    height = (1 + math.cos(math.pi * done)) / 2 if schedule.kind == "cosine" else 1 - done
    lowest = schedule.min_learning_rate_ratio
    return peak * (lowest + (1 - lowest) * height)
