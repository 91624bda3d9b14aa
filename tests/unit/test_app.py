"""From a recipe to what Modal is asked for."""

from __future__ import annotations

import pytest

from ocrvl_modal.app import DEFAULT_TRAINING_GPU, short_options, training_options, with_hardware
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import TrainRecipe, recipe_from

REAL, TINY = FAMILY["paddleocr-vl-1.6"], FAMILY["tiny"]


def recipe(*sets: str) -> TrainRecipe:
    return recipe_from({"engine": "paddleformers"}, sets)


def test_a_run_gets_the_gpu_the_cores_and_the_memory_that_it_asks_for() -> None:
    options = training_options(
        recipe("hardware.gpu=l40s:2", "hardware.cpu=12", "hardware.memory_gib=100", "secrets=[hf]"), REAL
    )
    assert (options.gpu, options.cpu, options.memory_mib) == ("L40S:2", 12, 100 * 1024)
    assert options.secrets == ("hf",)
    assert options.image.name == "train-paddleformers"


@pytest.mark.parametrize(
    ("member", "sets", "expected"),
    [
        (REAL, (), (DEFAULT_TRAINING_GPU, 8, 48)),
        (REAL, ("hardware.gpu=H100:4",), ("H100:4", 32, 192)),
        (TINY, (), (None, 2, 8)),
        (TINY, ("hardware.gpu=T4",), ("T4", 8, 48)),
    ],
)
def test_what_is_not_asked_for_is_filled_in(
    member: object, sets: tuple[str, ...], expected: tuple[object, ...]
) -> None:
    assert member in (REAL, TINY)
    hardware = with_hardware(recipe(*sets), REAL if member is REAL else TINY).hardware
    assert (hardware.gpu, hardware.cpu, hardware.memory_gib) == expected


@pytest.mark.parametrize(
    ("hours", "seconds"), [(None, 86_400), ("1", 3600 + 900), ("0.5", 1800 + 900), ("24", 86_400), ("23.9", 86_400)]
)
def test_the_calls_limit_lies_after_the_runs_own_and_within_what_modal_takes(hours: str | None, seconds: int) -> None:
    sets = (f"limits.timeout_hours={hours}",) if hours else ()
    assert training_options(recipe(*sets), REAL).timeout_s == seconds


def test_a_run_saves_before_modal_ends_its_call() -> None:
    for sets in ((), ("limits.timeout_hours=1",), ("limits.timeout_hours=24",)):
        options = training_options(recipe(*sets), REAL)
        assert options.longest_s == options.timeout_s - 900


@pytest.mark.parametrize(
    ("engine", "sets", "refused"),
    [
        ("paddleformers", (), True),
        ("erniekit", (), True),
        ("transformers", (), False),
        ("transformers", ("precision=bf16",), True),
    ],
)
def test_a_gpu_without_bf16_is_refused_where_training_needs_it(
    engine: str, sets: tuple[str, ...], refused: bool
) -> None:
    asked = recipe_from({"engine": engine, "hardware": {"gpu": "T4"}}, sets)
    if refused:
        with pytest.raises(OcrvlError, match="T4 does not compute in bf16"):
            training_options(asked, FAMILY["paddleocr-vl-0.9b"])
    else:
        assert training_options(asked, FAMILY["paddleocr-vl-0.9b"]).gpu == "T4"


def test_more_than_a_day_is_refused_before_anything_is_asked_of_modal() -> None:
    with pytest.raises(OcrvlError, match="24 hours") as caught:
        training_options(recipe("limits.timeout_hours=24.1"), REAL)
    assert caught.value.code == ExitCode.USAGE
    assert "--set limits.timeout_hours=24" in caught.value.hint


def test_a_short_job_gets_no_gpu_and_no_framework_unless_it_reads_images() -> None:
    assert (short_options("check", None, {}).image.name, short_options("check", None, {}).gpu) == ("light", None)
    reading = short_options("infer", "l4", {})
    assert (reading.image.name, reading.gpu) == ("train-transformers", "L4")


def test_a_download_takes_the_hubs_address_along_and_its_token_only_as_a_secret_that_is_asked_for() -> None:
    here = {"HF_TOKEN": "hf_x", "HF_ENDPOINT": "http://127.0.0.1:1", "AWS_SECRET": "no"}
    options = short_options("download", None, here)
    assert (options.local_secrets, options.secrets) == ((), ())
    assert dict(options.variables) == {"HF_ENDPOINT": "http://127.0.0.1:1"}
    assert not short_options("infer", None, here).variables
    told = short_options("download", None, here, secrets=("hf",), local_secrets=("HF_TOKEN",))
    assert (told.local_secrets, told.secrets) == (("HF_TOKEN",), ("hf",))
    assert "HF_TOKEN" not in told.variables


def test_a_variable_that_is_to_travel_and_is_not_set_is_told() -> None:
    with pytest.raises(OcrvlError, match="HF_TOKEN is not set") as caught:
        short_options("download", None, {"HF_TOKEN": ""}, local_secrets=("HF_TOKEN",))
    assert caught.value.code == ExitCode.NOT_PERMITTED
