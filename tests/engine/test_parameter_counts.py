"""The numbers that plans count with are those of the models that the trainer builds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.test_full_size import CONFIG
from ocrvl_modal.engines.reader import quiet_transformers
from ocrvl_modal.engines.trainer import model as trainer_model
from ocrvl_modal.engines.trainer.config import read_config
from ocrvl_modal.engines.trainer.model import build_model
from ocrvl_modal.models import FAMILY
from ocrvl_modal.plan import DatasetSize, make_plan
from ocrvl_modal.recipes import recipe_from

MakeWork = Callable[..., Any]
REAL = [name for name in FAMILY if name != "tiny"]


@contextmanager
def real_size_without_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The trainer gets the real architecture at its real size, on a device that holds no numbers."""
    from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

    config = PaddleOCRVLConfig.from_dict(json.loads(json.dumps(CONFIG)))

    def load(*_: Any) -> Any:
        return PaddleOCRVLForConditionalGeneration(config)

    monkeypatch.setattr(trainer_model, "load_model", load)
    with quiet_transformers(), torch.device("meta"):
        yield


def trained(make_work: MakeWork, *sets: str) -> int:
    work = make_work("counted", *sets)
    model = build_model(read_config(work.engine.write_config(work.job)))
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def planned(name: str, *sets: str) -> int:
    recipe = recipe_from({"model": {"name": name}}, sets)
    return make_plan(
        recipe,
        FAMILY[name],
        run="a",
        backend="local",
        hardware="",
        train=DatasetSize(1, 1, 1),
        validation_samples=0,
        devices=1,
    ).trained_parameters


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("targets", ["language", "all"])
def test_the_plan_knows_how_large_an_adapter_of_the_tiny_model_is(make_work: MakeWork, targets: str, rank: int) -> None:
    sets = ("method=lora", f"lora.targets={targets}", f"lora.rank={rank}")
    assert planned("tiny", *sets) == trained(make_work, *sets)


def test_the_plan_knows_how_large_the_tiny_model_is(make_work: MakeWork, tiny: Path) -> None:
    assert planned("tiny") == trained(make_work)


@pytest.mark.parametrize("targets", ["language", "all"])
def test_the_plan_knows_how_large_an_adapter_of_the_real_models_is(
    make_work: MakeWork, monkeypatch: pytest.MonkeyPatch, targets: str
) -> None:
    sets = ("method=lora", f"lora.targets={targets}", "lora.rank=4")
    with real_size_without_memory(monkeypatch):
        counted = trained(make_work, *sets)
    assert [planned(name, *sets) for name in REAL] == [counted] * len(REAL)


def test_the_plan_counts_at_least_what_is_trained_of_the_real_models_and_at_most_a_fifth_more(
    make_work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan counts what is in the files, which also hold a table and two heads that are not trained apart."""
    with real_size_without_memory(monkeypatch):
        counted = trained(make_work)
    for name in REAL:
        assert counted <= planned(name) <= 1.2 * counted
