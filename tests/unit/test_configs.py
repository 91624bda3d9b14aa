from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ocrvl_modal.configs import find_recipe, shipped_recipes, title_of
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.gpus import parse_gpu
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import TrainRecipe, flatten, read_recipe_file, recipe_from

RECIPES = shipped_recipes()
REAL_MODELS = [name for name in FAMILY if name != "tiny"]
FAMILY_RECIPES = [name for name in RECIPES if "/" in name]

# Said even where they say the default: what a recipe is about, and the numbers that people change first.
TEACHING = {"model.name", "method", "optimizer.learning_rate", "lora.rank"}


def resolved(name: str) -> dict[str, Any]:
    return flatten(recipe_from(read_recipe_file(RECIPES[name])))


def written_keys(name: str) -> set[str]:
    """Return the keys that stand in the file itself."""
    content = yaml.safe_load(RECIPES[name].read_text(encoding="utf-8"))
    return {
        f"{section}.{key}" if isinstance(value, dict) else section
        for section, value in content.items()
        for key in (value if isinstance(value, dict) else [section])
    }


def header(name: str) -> str:
    lines = RECIPES[name].read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))])


def train_commands(name: str) -> list[list[str]]:
    found = re.findall(r"ocrvl train (?!--model).*", header(name))
    return [shlex.split(command) for command in found]


def test_the_quickstart_and_every_family_member_have_their_recipes() -> None:
    cases = {f"{task}-{method}" for task in ("text", "table") for method in ("full", "lora")}
    assert set(RECIPES) == {"quickstart"} | {f"{model}/{case}" for model in REAL_MODELS for case in cases}


@pytest.mark.parametrize("name", FAMILY_RECIPES)
def test_a_recipe_is_for_the_model_and_the_method_of_its_name(name: str) -> None:
    values = resolved(name)
    assert values["model.name"] == name.partition("/")[0]
    assert values["method"] == name.rpartition("-")[2]


@pytest.mark.parametrize("name", FAMILY_RECIPES)
def test_a_recipe_says_nothing_that_goes_without_saying(name: str) -> None:
    values = resolved(name)
    unsaid = flatten(recipe_from({"model": {"name": values["model.name"]}, "method": values["method"]}))
    assert {key for key in written_keys(name) - TEACHING if values[key] == unsaid[key]} == set()


def test_the_quickstart_shows_what_the_tiny_model_really_uses() -> None:
    assert resolved("quickstart") == flatten(recipe_from({"model": {"name": "tiny"}}))
    own = flatten(TrainRecipe())
    assert {key for key, value in resolved("quickstart").items() if value != own[key]} <= written_keys("quickstart")


@pytest.mark.parametrize("name", FAMILY_RECIPES)
def test_the_values_are_those_of_the_official_recipes(name: str) -> None:
    values = resolved(name)
    model, _, case = name.partition("/")
    lora, table = case.endswith("lora"), case.startswith("table")
    official = {
        "optimizer.learning_rate": 5e-4 if lora else 5e-6,
        "optimizer.weight_decay": 0.1,
        "optimizer.beta1": 0.9,
        "optimizer.beta2": 0.95,
        "optimizer.epsilon": 1e-8,
        "schedule.kind": "cosine",
        "schedule.min_learning_rate_ratio": 0.1,
        "schedule.num_epochs": 1 if table else 2,
        "schedule.warmup_ratio": 0.01 if table or model.endswith("0.9b") else 0.1,
        "data.max_seq_len": 16384,
        "lora.rank": 8,
        "seed": 23,
        "batch.num_workers": 8,
        "gradient_checkpointing": True,
    }
    assert {key: values[key] for key in official} == official
    samples_per_step = values["batch.per_device"] * values["batch.gradient_accumulation"]
    assert samples_per_step == (64 if table or model.endswith("0.9b") else 128)


@pytest.mark.parametrize("name", FAMILY_RECIPES)
def test_a_rented_gpu_comes_with_limits_that_agree(name: str) -> None:
    recipe = recipe_from(read_recipe_file(RECIPES[name]))
    assert recipe.hardware.gpu == ("L40S" if recipe.method == "lora" else "A100-80GB")
    assert recipe.limits.timeout_hours is not None
    assert recipe.limits.max_cost_usd is not None
    full_time = float(parse_gpu(recipe.hardware.gpu).price_usd_per_hour) * recipe.limits.timeout_hours
    assert full_time <= recipe.limits.max_cost_usd < full_time + 1


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_what_it_is_for_what_it_needs_and_how_it_runs(name: str) -> None:
    text = header(name)
    assert title_of(RECIPES[name]).endswith(".")
    assert [word for word in ("# For:", "# Needs:", "# Run:") if word not in text] == []


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_in_the_header_runs_this_recipe(name: str) -> None:
    commands = train_commands(name)
    assert [command[2] for command in commands] == [name]


@pytest.mark.parametrize("name", RECIPES)
def test_the_options_in_the_header_are_options_of_the_command(name: str) -> None:
    from ocrvl_modal.cli import app_for

    train = typer.main.get_command(app_for(["train"])).commands["train"]  # type: ignore[attr-defined]
    known = {option for parameter in train.params for option in parameter.opts}
    given = {word for word in header(name).split() if word.startswith("--")}
    assert given - known - {"--out"} == set()


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("lora")])
def test_the_override_that_a_header_proposes_can_be_set(name: str) -> None:
    proposed = re.findall(r"--set (\S+=[^\s.,]+)", header(name))
    assert recipe_from(read_recipe_file(RECIPES[name]), proposed).schedule.max_steps == 20


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(name) == RECIPES[name]
    assert find_recipe(f"{name}.yaml") == RECIPES[name]


def test_a_file_goes_before_a_shipped_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quickstart").write_text("seed: 1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_recipe_file(find_recipe("quickstart")) == {"seed": 1}


def test_a_folder_does_not_hide_a_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quickstart").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_recipe("quickstart") == RECIPES["quickstart"]


def test_an_unknown_recipe_is_not_found_and_the_nearest_is_named() -> None:
    with pytest.raises(OcrvlError, match=r"did you mean 'paddleocr-vl-1\.6/text-lora'") as caught:
        find_recipe("paddleocr-vl-1.6/text-lara")
    assert (caught.value.code, caught.value.hint) == (ExitCode.NOT_FOUND, "ocrvl recipe ls")


def test_a_file_without_a_header_has_no_title(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seed: 1\n", encoding="utf-8")
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    assert title_of(tmp_path / "r.yaml") == title_of(tmp_path / "empty.yaml") == ""
