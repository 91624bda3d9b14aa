from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.gpus import GPUS
from ocrvl_modal.models import FAMILY
from ocrvl_modal.plan import DatasetSize, TrainPlan, make_plan
from ocrvl_modal.recipes import recipe_from

SIZE = DatasetSize(samples=1000, tokens=300_000, longest_sample_tokens=700)


def a_plan(*sets: str, size: DatasetSize = SIZE, **changes: Any) -> TrainPlan:
    arguments: dict[str, Any] = {
        "run": "a",
        "backend": "local",
        "hardware": "here",
        "validation_samples": 10,
        "devices": 1,
        **changes,
    }
    recipe = recipe_from({"model": {"name": "paddleocr-vl-1.6"}}, sets)
    return make_plan(recipe, FAMILY["paddleocr-vl-1.6"], train=size, **arguments)


@given(
    samples=st.integers(1, 10**7),
    epochs=st.floats(0.01, 100),
    per_device=st.integers(1, 64),
    accumulation=st.integers(1, 64),
    devices=st.integers(1, 8),
)
def test_the_steps_cover_the_epochs_with_less_than_a_step_to_spare(
    samples: int, epochs: float, per_device: int, accumulation: int, devices: int
) -> None:
    plan = a_plan(
        f"schedule.num_epochs={epochs!r}",
        f"batch.per_device={per_device}",
        f"batch.gradient_accumulation={accumulation}",
        size=DatasetSize(samples, samples * 10, 10),
        devices=devices,
    )
    assert plan.samples_per_step == per_device * accumulation * devices
    assert plan.max_steps * plan.samples_per_step >= samples * epochs
    assert (plan.max_steps - 1) * plan.samples_per_step < samples * epochs
    assert plan.max_steps >= 1


def test_steps_go_before_epochs_where_they_are_given() -> None:
    plan = a_plan("schedule.max_steps=5", "schedule.num_epochs=100", "batch.per_device=10")
    assert (plan.max_steps, plan.samples_per_step, plan.epochs) == (5, 80, 0.4)
    assert plan.tokens == 120_000


@given(steps=st.integers(1, 10**6), ratio=st.floats(0, 1))
def test_the_warm_up_is_its_share_of_the_steps_and_never_more_than_all(steps: int, ratio: float) -> None:
    plan = a_plan(f"schedule.max_steps={steps}", f"schedule.warmup_ratio={ratio!r}")
    assert plan.warmup_steps == math.ceil(steps * ratio) <= steps


def test_warm_up_steps_go_before_their_share() -> None:
    assert a_plan("schedule.warmup_steps=7", "schedule.warmup_ratio=0.5").warmup_steps == 7


HOUR = 3600


@pytest.mark.parametrize(
    ("sets", "backend", "seconds"),
    [
        ((), "modal", None),
        (("limits.timeout_hours=2",), "local", 2 * HOUR),
        (("limits.max_cost_usd=10",), "local", None),
        (("limits.max_cost_usd=3.90", "hardware.gpu=L40S"), "modal", 2 * HOUR),
        (("limits.max_cost_usd=3.90", "hardware.gpu=L40S:2"), "modal", HOUR),
        (("limits.max_cost_usd=3.90", "limits.timeout_hours=0.5", "hardware.gpu=L40S"), "modal", HOUR / 2),
        (("limits.max_cost_usd=0.195", "limits.timeout_hours=5", "hardware.gpu=L40S"), "modal", HOUR / 10),
        (("limits.max_cost_usd=3.90", "hardware.gpu=L40S"), "local", None),
        (("limits.max_cost_usd=3.90",), "modal", None),
    ],
)
def test_a_run_ends_at_the_nearer_of_its_time_and_its_money(
    sets: tuple[str, ...], backend: str, seconds: float | None
) -> None:
    assert a_plan(*sets, backend=backend).deadline_s == (None if seconds is None else pytest.approx(seconds))


@given(
    hours=st.none() | st.floats(0.001, 1000),
    dollars=st.none() | st.decimals("0.01", "10000", places=2),
    gpu=st.sampled_from(sorted(GPUS)),
)
def test_no_limit_is_ever_passed(hours: float | None, dollars: Decimal | None, gpu: str) -> None:
    sets = [f"hardware.gpu={gpu}"]
    sets += [f"limits.timeout_hours={hours!r}"] if hours else []
    sets += [f"limits.max_cost_usd={dollars}"] if dollars else []
    plan = a_plan(*sets, backend="modal")
    if plan.deadline_s is None:
        assert hours is None
        assert dollars is None
        return
    spent = float(plan.price_usd_per_hour) * plan.deadline_s / HOUR
    assert hours is None or plan.deadline_s <= hours * HOUR * (1 + 1e-9)
    assert dollars is None or spent <= float(dollars) * (1 + 1e-9)


def test_this_machine_costs_nothing_whatever_is_asked_for() -> None:
    assert a_plan("hardware.gpu=H100").price_usd_per_hour == 0
    assert a_plan("hardware.gpu=H100:2", backend="modal").price_usd_per_hour == Decimal("7.90")


def test_an_adapter_takes_less_memory_and_disk_than_all_parameters() -> None:
    full, lora = a_plan(), a_plan("method=lora")
    assert full.trained_parameters == FAMILY["paddleocr-vl-1.6"].parameters
    assert lora.trained_parameters == 8 * 936_160
    assert a_plan("method=lora", "lora.rank=16").trained_parameters == 2 * lora.trained_parameters
    assert lora.memory_bytes < full.memory_bytes / 3
    assert lora.checkpoint_bytes < full.checkpoint_bytes / 100


def test_the_disk_holds_the_kept_checkpoints_and_one_more() -> None:
    one, three = a_plan("checkpoint.save_total_limit=1"), a_plan("checkpoint.save_total_limit=3")
    assert three.disk_bytes - one.disk_bytes == 2 * one.checkpoint_bytes
    assert one.disk_bytes > 2 * one.checkpoint_bytes


def test_a_plan_reads_back_equal() -> None:
    plan = a_plan("limits.max_cost_usd=3.90", "hardware.gpu=L40S", backend="modal")
    assert TrainPlan.model_validate_json(plan.model_dump_json(indent=2)) == plan


@pytest.mark.parametrize(("samples", "is_told"), [(64, False), (63, True)])
def test_a_step_larger_than_the_dataset_is_told(samples: int, is_told: bool) -> None:
    plan = a_plan("batch.per_device=64", "batch.gradient_accumulation=1", size=DatasetSize(samples, 1000, 10))
    assert bool(plan.warnings) is is_told


@pytest.mark.parametrize(
    ("sets", "is_told"),
    [((), True), (("limits.max_cost_usd=5",), False), (("limits.timeout_hours=5",), False)],
)
def test_a_run_that_costs_money_and_has_no_limit_is_told(sets: tuple[str, ...], is_told: bool) -> None:
    plan = a_plan("hardware.gpu=L40S", *sets, backend="modal")
    assert any("nothing limits this run" in warning for warning in plan.warnings) is is_told
    assert not any("limits" in warning for warning in a_plan("hardware.gpu=L40S", backend="local").warnings)
