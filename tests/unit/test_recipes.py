from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrvl_modal import files
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.gpus import GPUS
from ocrvl_modal.models import DEFAULT_MODEL, FAMILY
from ocrvl_modal.recipe_text import default_recipe_text
from ocrvl_modal.recipes import (
    TrainRecipe,
    check_name,
    dump_recipe,
    dump_value,
    flatten,
    read_recipe_file,
    recipe_from,
)

texts = st.text(max_size=30)
counts = st.integers(min_value=1, max_value=10**9)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
shares = st.floats(min_value=0, max_value=1)
below_one = st.floats(min_value=0, max_value=1, exclude_max=True)


def or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


# Every key, with the values that it may have. A key that is added to the recipe must be added here.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model.name": texts,
    "model.family": or_none(st.sampled_from(list(FAMILY))),
    "model.revision": texts,
    "method": st.sampled_from(["full", "lora"]),
    "engine": st.sampled_from(["auto", "transformers", "paddleformers", "erniekit"]),
    "data.train": or_none(texts),
    "data.validation": or_none(texts),
    "data.test": or_none(texts),
    "data.max_seq_len": st.integers(min_value=16, max_value=131_072),
    "data.extra_prompts": st.lists(texts, max_size=3),
    "data.augmentation": st.booleans(),
    "lora.rank": st.integers(min_value=1, max_value=512),
    "lora.alpha": or_none(counts),
    "lora.dropout": below_one,
    "lora.targets": st.sampled_from(["language", "all"]),
    "optimizer.learning_rate": positive,
    "optimizer.weight_decay": shares,
    "optimizer.beta1": below_one,
    "optimizer.beta2": below_one,
    "optimizer.epsilon": positive,
    "optimizer.max_grad_norm": positive,
    "schedule.max_steps": or_none(counts),
    "schedule.num_epochs": positive,
    "schedule.kind": st.sampled_from(["cosine", "linear", "constant"]),
    "schedule.warmup_ratio": shares,
    "schedule.warmup_steps": or_none(st.integers(min_value=0, max_value=10**6)),
    "schedule.min_learning_rate_ratio": shares,
    "batch.per_device": counts,
    "batch.gradient_accumulation": counts,
    "batch.per_device_evaluation": or_none(counts),
    "batch.group_by_length": st.booleans(),
    "batch.num_workers": st.integers(min_value=0, max_value=64),
    "checkpoint.save_steps": counts,
    "checkpoint.save_total_limit": counts,
    "evaluation.eval_steps": counts,
    "pixels.minimum": or_none(st.integers(min_value=784, max_value=100_000)),
    "pixels.maximum": or_none(st.integers(min_value=100_000, max_value=10**7)),
    "precision": st.sampled_from(["auto", "bf16", "float32"]),
    "engine_config": or_none(st.just({})),
    "gradient_checkpointing": st.booleans(),
    "seed": st.integers(min_value=0, max_value=2**32 - 1),
    "hardware.gpu": or_none(st.sampled_from([*GPUS, "A100-80GB:2", "H100:8"])),
    "hardware.num_processes": or_none(counts),
    "hardware.cpu": or_none(st.floats(min_value=0.125, max_value=64)),
    "hardware.memory_gib": or_none(st.integers(min_value=1, max_value=512)),
    "hardware.threads": or_none(counts),
    "limits.timeout_hours": or_none(positive),
    "limits.max_cost_usd": or_none(st.decimals("0.01", 10_000, places=2).map(str)),
    "limits.max_retries": st.integers(min_value=0, max_value=10),
    "limits.stall_minutes": positive,
    "secrets": st.lists(texts, max_size=3),
    "hf_secret": or_none(texts),
    "tracking.log_steps": counts,
    "tracking.tags": st.lists(texts, max_size=3),
    "tracking.note": texts,
    "output_dir": or_none(texts),
}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            tree.setdefault(section, {})[name] = value
        else:
            tree[key] = value
    return tree


recipes = st.fixed_dictionaries({}, optional=VALUES).map(lambda flat: TrainRecipe.model_validate(nested(flat)))


def refused(user: dict[str, Any], *sets: str) -> OcrvlError:
    with pytest.raises(OcrvlError) as caught:
        recipe_from(user, sets)
    return caught.value


@settings(deadline=None)
@given(recipe=recipes)
def test_a_recipe_reads_back_equal_from_its_yaml(recipe: TrainRecipe) -> None:
    assert recipe_from(yaml.safe_load(dump_recipe(recipe))) == recipe


@settings(deadline=None, max_examples=25)
@given(recipe=recipes)
def test_a_recipe_reads_back_equal_from_its_file(recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "recipe.yaml"
    files.write_text(path, dump_recipe(recipe))
    again = recipe_from(read_recipe_file(path))
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)


def test_the_values_of_every_key_are_tried() -> None:
    assert set(VALUES) == set(flatten(TrainRecipe()))


@pytest.mark.parametrize("key", VALUES)
def test_every_key_can_be_set(key: str) -> None:
    @settings(deadline=None, max_examples=15)
    @given(value=VALUES[key])
    def with_any_value(value: Any) -> None:
        assert flatten(recipe_from({}, [f"{key}={dump_value(value)}"]))[key] == value

    with_any_value()


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "1.0e-4", "0.0001", "+1e-4", ".0001", "'1e-4'"])
def test_a_number_may_be_written_as_people_write_it(written: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"optimizer:\n  learning_rate: {written}\n", encoding="utf-8")
    from_file = recipe_from(read_recipe_file(tmp_path / "r.yaml"))
    from_set = recipe_from({}, [f"optimizer.learning_rate={written}"])
    assert from_file.optimizer.learning_rate == from_set.optimizer.learning_rate == 1e-4


def test_a_whole_number_may_be_set_in_powers_of_ten() -> None:
    assert recipe_from({}, ["schedule.max_steps=1e3"]).schedule.max_steps == 1000


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("model.name", "1.6"),
        ("model.revision", "1234567"),
        ("model.revision", "123e456"),
        ("tracking.note", "yes"),
        ("tracking.note", "2026-11-21"),
        ("tracking.note", "second try: slower"),
        ("output_dir", "/models/lines"),
    ],
)
def test_what_holds_text_takes_it_as_it_is_written(key: str, text: str) -> None:
    assert flatten(recipe_from({}, [f"{key}={text}"]))[key] == text


def test_a_model_may_be_called_by_its_number_in_a_file() -> None:
    recipe = recipe_from(yaml.safe_load("model:\n  name: 1.5\nmethod: lora\n"))
    assert (recipe.model.name, recipe.optimizer.learning_rate) == ("1.5", 5e-4)


def test_money_stays_exact() -> None:
    assert recipe_from({}, ["limits.max_cost_usd=0.1"]).limits.max_cost_usd == Decimal("0.1")


def test_a_set_goes_before_the_file_and_the_last_set_before_the_first() -> None:
    recipe = recipe_from({"seed": 1, "lora": {"rank": 4, "alpha": 4}}, ["seed=2", "seed=3", "lora.rank=16"])
    assert (recipe.seed, recipe.lora.rank, recipe.lora.alpha) == (3, 16, 4)


def test_a_whole_section_can_be_set() -> None:
    assert recipe_from({}, ["lora={rank: 4, dropout: 0.1}"]).lora.dropout == 0.1


def test_what_the_user_wrote_is_not_changed() -> None:
    user = {"lora": {"rank": 4}}
    recipe_from(user, ["lora.rank=8", "schedule.max_steps=1"])
    assert user == {"lora": {"rank": 4}}


@pytest.mark.parametrize(("method", "rate"), [("full", 5e-6), ("lora", 5e-4)])
@pytest.mark.parametrize("model", [name for name in FAMILY if name != "tiny"])
def test_the_learning_rate_follows_the_method(model: str, method: str, rate: float) -> None:
    assert recipe_from({"model": {"name": model}, "method": method}).optimizer.learning_rate == rate


def test_the_tiny_model_brings_values_of_its_own() -> None:
    recipe = recipe_from({"model": {"name": "tiny"}})
    assert (recipe.batch.per_device, recipe.optimizer.learning_rate, recipe.optimizer.beta2) == (16, 3e-3, 0.98)


def test_what_the_user_says_goes_before_what_the_model_brings() -> None:
    recipe = recipe_from({"model": {"name": "tiny"}, "optimizer": {"learning_rate": 1e-5}}, ["batch.per_device=2"])
    assert (recipe.batch.per_device, recipe.optimizer.learning_rate, recipe.optimizer.beta2) == (2, 1e-5, 0.98)


@pytest.mark.parametrize("value", [TrainRecipe().batch.per_device, TrainRecipe().optimizer.beta2])
def test_even_a_value_that_equals_the_recipe_default_goes_before_what_the_model_brings(value: float) -> None:
    key = "batch.per_device" if value == TrainRecipe().batch.per_device else "optimizer.beta2"
    assert flatten(recipe_from({"model": {"name": "tiny"}}, [f"{key}={value}"]))[key] == value


def test_a_model_folder_trains_as_its_family_does() -> None:
    user = {"model": {"name": "./my-model"}}
    assert recipe_from(user, family=FAMILY["tiny"]).batch.per_device == 16
    assert recipe_from(user, ["model.family=tiny"]).batch.per_device == 16
    assert recipe_from(user).batch.per_device == TrainRecipe().batch.per_device


def test_an_unknown_family_is_not_found() -> None:
    error = refused({"model": {"name": "./my-model", "family": "tinny"}})
    assert (error.code, "did you mean 'tiny'?" in error.hint) == (ExitCode.NOT_FOUND, True)


def test_the_adapters_scale_is_twice_its_rank_where_it_is_not_given() -> None:
    assert recipe_from({}, ["lora.rank=16"]).lora_alpha == 32
    assert recipe_from({}, ["lora.rank=16", "lora.alpha=8"]).lora_alpha == 8


@pytest.mark.parametrize(
    ("user", "key", "hint"),
    [
        ({"optimiser": {"learning_rate": 1}}, "optimiser", "did you mean 'optimizer'?"),
        ({"learning_rate": 1e-4}, "learning_rate", "did you mean 'optimizer.learning_rate'?"),
        ({"schedule": {"learning_rate": 1}}, "schedule.learning_rate", "did you mean 'optimizer.learning_rate'?"),
        ({"checkpoint": {"save_step": 1}}, "checkpoint.save_step", "did you mean 'checkpoint.save_steps'?"),
        ({"optimizer": {"lr": 1}}, "optimizer.lr", "known: optimizer.learning_rate, optimizer.weight_decay"),
        ({"zzz": 1}, "zzz", "known: model, method, engine"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(user: dict[str, Any], key: str, hint: str) -> None:
    error = refused(user)
    assert (error.code, error.message) == (ExitCode.USAGE, f"unknown recipe key '{key}'")
    assert error.hint.startswith(hint)


@pytest.mark.parametrize("key", ["optimiser.learning_rate", "lora.rank.x", "a.b.c", "learning_rate"])
def test_an_unknown_key_cannot_be_set_either(key: str) -> None:
    error = refused({}, f"{key}=1")
    assert (error.code, error.message) == (ExitCode.USAGE, f"unknown recipe key '{key}'")


@pytest.mark.parametrize(
    "assignment", ["", "=", "=1", "optimizer.learning_rate", "seed=[1", "tracking.note=: :", "seed=2026-99-99"]
)
def test_an_assignment_that_is_none_is_refused(assignment: str) -> None:
    error = refused({}, assignment)
    assert error.code is ExitCode.USAGE
    assert error.message.startswith(f"--set {assignment}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "qlora"),
        ("optimizer.learning_rate", "fast"),
        ("optimizer.learning_rate", "0"),
        ("optimizer.learning_rate", ".nan"),
        ("optimizer.learning_rate", ".inf"),
        ("schedule.max_steps", "1.5"),
        ("schedule.max_steps", "0"),
        ("data.max_seq_len", "15"),
        ("tracking.tags", "digits"),
        ("limits.max_cost_usd", "-1"),
        ("limits.max_cost_usd", ".nan"),
        ("seed", "-1"),
        ("seed", "4294967296"),
        ("lora", "8"),
        ("data", ""),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_its_key_named(key: str, value: str) -> None:
    error = refused({}, f"{key}={value}")
    assert error.code is ExitCode.USAGE
    assert error.message.startswith(f"recipe key '{key}")


def test_a_section_that_is_no_mapping_cannot_be_set_into() -> None:
    assert refused({"lora": 8}, "lora.rank=4").message == "recipe key 'lora' must be a mapping"


def test_pixel_limits_must_be_in_order() -> None:
    assert (
        "pixels.minimum 2000 is over pixels.maximum 1000"
        in refused({"pixels": {"minimum": 2000, "maximum": 1000}}).message
    )


def test_an_unknown_gpu_is_refused_before_anything_runs() -> None:
    error = refused({"hardware": {"gpu": "L40X"}})
    assert (error.code, error.hint) == (ExitCode.USAGE, "did you mean 'L40S'?")


def test_a_gpu_is_written_by_its_own_name() -> None:
    assert recipe_from({"hardware": {"gpu": "a100"}}).hardware.gpu == "A100-40GB"


def test_an_empty_recipe_file_is_the_default_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("# nothing yet\n", encoding="utf-8")
    recipe = recipe_from(read_recipe_file(tmp_path / "r.yaml"))
    assert (recipe.model.name, recipe.method) == (DEFAULT_MODEL, "full")


def test_a_missing_recipe_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError) as caught:
        read_recipe_file(tmp_path / "r.yaml")
    assert (caught.value.code, caught.value.hint) == (ExitCode.NOT_FOUND, "ocrvl recipe ls")


def test_a_recipe_that_is_not_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("method: full\nlora: [8\nseed: 1\n", encoding="utf-8")
    with pytest.raises(OcrvlError, match=r"r\.yaml is not YAML, line 3") as caught:
        read_recipe_file(tmp_path / "r.yaml")
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize("content", [b"\x80\x81", b"\0", b"note: 2026-99-99", b"- a", b"text", b"1: 2", b"[model]"])
def test_a_file_that_is_no_recipe_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(OcrvlError) as caught:
        read_recipe_file(tmp_path / "r.yaml")
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["a", "lines-2026.11", "A_b", "0", "a" * 63])
def test_a_plain_name_can_name_a_run(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "mended"),
    [
        ("a/b", "a-b"),
        ("../up", "up"),
        ("..", "my-run"),
        ("", "my-run"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("zwei Wörter", "zwei-W-rter"),
        ("a\nb", "a-b"),
        ("a" * 64, "a" * 63),
    ],
)
def test_a_name_that_cannot_be_a_folder_is_refused_with_one_that_can(name: str, mended: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        check_name(name)
    assert (caught.value.code, caught.value.hint) == (ExitCode.USAGE, f"--name {mended}")


@given(name=texts)
def test_a_mended_name_is_always_a_good_one(name: str) -> None:
    try:
        check_name(name)
    except OcrvlError as error:
        check_name(error.hint.removeprefix("--name "))


def test_the_recipe_that_shows_every_key_is_the_default_recipe() -> None:
    assert recipe_from(yaml.safe_load(default_recipe_text())) == TrainRecipe()


@pytest.mark.parametrize("key", VALUES)
def test_the_recipe_that_shows_every_key_says_what_each_is_for(key: str) -> None:
    lines = default_recipe_text().splitlines()
    name = key.rpartition(".")[2]
    places = [number for number, line in enumerate(lines) if line.strip().startswith(f"{name}:")]
    assert places
    assert all(lines[number - 1].strip().startswith("# ") for number in places)
