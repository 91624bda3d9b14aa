"""What ERNIEKit is told: the recipe's values, and a user's own configuration."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from erniekit.conftest import MEMBER, Ernie, make_ernie
from ocrvl_modal.engines.erniekit import ErnieKitEngine
from ocrvl_modal.engines.erniekit.keys import FREE, OURS, RECIPE_KEYS, overrides
from ocrvl_modal.engines.erniekit.user_config import read_user_config
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.plan import DatasetSize, make_plan
from ocrvl_modal.recipes import TrainRecipe, flatten, recipe_from


def a_recipe(*sets: str) -> TrainRecipe:
    return recipe_from({"model": {"name": MEMBER.name}, "engine": "erniekit"}, sets)


def refused(*sets: str) -> OcrvlError:
    with pytest.raises(OcrvlError) as caught:
        ErnieKitEngine().check(a_recipe(*sets), MEMBER)
    assert caught.value.code is ExitCode.USAGE
    return caught.value


def test_the_default_recipe_tells_the_documented_values() -> None:
    told = overrides(a_recipe(), 926, 10)
    documented = {
        "learning_rate": 5e-6,
        "min_lr": 5e-7,
        "warmup_steps": 10,
        "max_steps": 926,
        "packing_size": 8,
        "batch_size": 1,
        "gradient_accumulation_steps": 8,
        "max_seq_len": 16384,
        "save_steps": 200,
        "logging_steps": 1,
        "seed": 23,
        "compute_type": "bf16",
        "weight_decay": 0.1,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-8,
        "lr_scheduler_type": "cosine",
    }
    assert {key: told[key] for key in documented} == documented


def test_a_set_reaches_the_engine() -> None:
    told = overrides(
        a_recipe("batch.per_device=4", "schedule.kind=constant", "gradient_checkpointing=true", "seed=7"), 5, 0
    )
    assert (told["packing_size"], told["lr_scheduler"], told["recompute"], told["seed"]) == (4, "constant", True, 7)


def test_recomputation_stays_as_the_file_has_it_unless_it_is_asked_for() -> None:
    assert "recompute" not in overrides(a_recipe(), 5, 0)


def test_every_key_that_we_tell_is_one_that_we_know() -> None:
    assert set(overrides(a_recipe(), 5, 0)) <= {*RECIPE_KEYS, *OURS, *FREE}
    assert set(RECIPE_KEYS.values()) <= set(flatten(TrainRecipe()))


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (("schedule.kind=linear",), "linear"),
        (("precision=float32",), "bf16 only"),
        (("engine_config={learning_rate: 1}",), "optimizer.learning_rate"),
        (("engine_config={output_dir: x}",), "output_dir"),
        (("engine_config={fine_tuning: LoRA}",), "adapter"),
        (("engine_config={stage: SFT}",), "OCR-VL-SFT"),
        (("engine_config={compute_type: fp16}",), "learning rate of 0"),
        (("engine_config={pipeline_parallel_degree: 2}",), "pipeline"),
        (("engine_config={unified_checkpoint_config: async_save}",), "async_save"),
        (("engine_config={batch_size: 3}",), "batch.per_device"),
    ],
)
def test_what_it_cannot_do_is_refused(sets: tuple[str, ...], words: str) -> None:
    error = refused(*sets)
    assert words in error.message + error.hint
    assert error.hint


def test_what_it_leaves_out_is_said() -> None:
    images, losses = ErnieKitEngine().check(a_recipe("data.validation=v.jsonl"), MEMBER)
    assert "varies the images" in images
    assert "no evaluation loss" in losses
    assert not ErnieKitEngine().check(a_recipe("data.augmentation=true"), MEMBER)


def test_a_key_that_it_would_ignore_is_said_with_the_nearest() -> None:
    (warning,) = ErnieKitEngine().check(
        a_recipe("data.augmentation=true", "engine_config={freeze_confg: freeze_vision}"), MEMBER
    )
    assert "did you mean 'freeze_config'?" in warning


def test_an_own_configuration_becomes_recipe_and_rest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "learning_rate: 1e-5\nmin_lr: 1e-6\npacking_size: 4\nbatch_size: 2\nmax_steps: 50\nsave_steps: 10\n"
        "stage: OCR-VL-SFT\nfreeze_config: freeze_vision\noutput_dir: ./mine\nlr_scheduler_type: constant\n"
    )
    told, notes = read_user_config(path)
    recipe = recipe_from({"model": {"name": "0.9b"}, "engine": "erniekit", **told})
    assert (recipe.optimizer.learning_rate, recipe.schedule.min_learning_rate_ratio) == (1e-5, pytest.approx(0.1))
    assert (recipe.batch.per_device, recipe.schedule.max_steps, recipe.checkpoint.save_steps) == (8, 50, 10)
    assert recipe.engine_config == {"batch_size": 2, "stage": "OCR-VL-SFT", "freeze_config": "freeze_vision"}
    assert "output_dir" in notes[0]
    again = overrides(recipe, 50, 1)
    assert (again["packing_size"], again["batch_size"], again["lr_scheduler"]) == (4, 2, "constant")
    (warning,) = ErnieKitEngine().check(recipe, MEMBER)
    assert "varies the images" in warning


def test_an_own_configuration_without_packing_keeps_its_batch(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("packing: false\nbatch_size: 4\npacking_size: 8\nmax_steps: -1\n")
    told, _ = read_user_config(path)
    recipe = recipe_from({"model": {"name": "0.9b"}, "engine": "erniekit", **told})
    assert (recipe.batch.per_device, recipe.schedule.max_steps) == (4, None)
    again = overrides(recipe, 50, 1)
    assert (again["packing"], again["batch_size"]) == (False, 4)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, ExitCode.NOT_FOUND, "no configuration"),
        ("a: [", ExitCode.USAGE, "not YAML"),
        ("- a", ExitCode.USAGE, "mapping"),
        ("min_lr: low", ExitCode.USAGE, "number"),
        ("packing_size: 0", ExitCode.USAGE, "over 0"),
    ],
)
def test_a_file_that_is_no_configuration_is_told_early(
    tmp_path: Path, text: str | None, code: ExitCode, words: str
) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(OcrvlError, match=words) as caught:
        read_user_config(path)
    assert caught.value.code is code


def test_the_plan_counts_the_samples_that_a_packed_sequence_holds() -> None:
    def plan(engine: str, tokens: int) -> Any:
        recipe = a_recipe(f"engine={engine}")
        size = DatasetSize(1000, 1000 * tokens, tokens)
        return make_plan(
            recipe, MEMBER, run="a", backend="local", hardware="", train=size, validation_samples=0, devices=1
        )

    assert (plan("erniekit", 300).samples_per_step, plan("erniekit", 300).warnings) == (64, ())
    assert plan("transformers", 3000).samples_per_step == 64
    long = plan("erniekit", 3000)
    assert (long.samples_per_step, long.samples_that_fit, long.max_steps) == (40, 5, 50)
    assert "room for about 5" in long.warnings[0]


def test_values_survive_the_command_line(
    engine: ErnieKitEngine, ernie: Ernie, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    job = make_job("data.extra_prompts=['a: b']", resume_from=tmp_path / "odd: #1" / "checkpoint-2")
    command = engine.command(job, engine.write_config(job))
    told = {key: yaml.safe_load(value) for key, _, value in (argument.partition("=") for argument in command[3:])}
    record = yaml.safe_load(job.attempt.engine_config.read_text())
    assert told == record["overrides"]
    assert shlex.split(record["command"]) == command
    assert told["resume_from_checkpoint"] == str(tmp_path / "odd: #1" / "checkpoint-2")
    assert told["train_dataset_prob"] == "1.0"


@pytest.mark.parametrize(
    ("visible", "processes", "devices"),
    [(None, None, "0,1,2"), (None, 2, "0,1"), ("2,1", None, "2,1"), ("2,1", 1, "2")],
)
def test_the_launcher_is_always_told_its_devices(
    engine: ErnieKitEngine,
    make_job: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    processes: int | None,
    devices: str,
) -> None:
    programs = make_ernie(tmp_path, gpus=3).programs
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    job = make_job(*([f"hardware.num_processes={processes}"] if processes else []))
    assert engine.environment(job)["CUDA_VISIBLE_DEVICES"] == devices


def test_more_processes_than_gpus_are_refused(
    engine: ErnieKitEngine, ernie: Ernie, make_job: Callable[..., Any]
) -> None:
    with pytest.raises(OcrvlError, match="for each process: 2, and this machine shows 1"):
        engine.write_config(make_job("hardware.num_processes=2"))


def test_a_model_that_lies_in_the_tree_is_not_overwritten(
    engine: ErnieKitEngine, ernie: Ernie, make_job: Callable[..., Any]
) -> None:
    theirs = ernie.home / "PaddlePaddle" / "PaddleOCR-VL" / "config.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}")
    with pytest.raises(OcrvlError, match="not a link that ocrvl made") as caught:
        engine.write_config(make_job())
    assert caught.value.hint.startswith("mv ")
    assert theirs.is_file()


def test_links_of_runs_that_died_are_replaced(
    engine: ErnieKitEngine, ernie: Ernie, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    (ernie.home / "PaddlePaddle").mkdir()
    (ernie.home / "PaddlePaddle" / "PaddleOCR-VL").symlink_to(tmp_path / "gone")
    (ernie.home / "old-run-123456789012.jsonl").symlink_to(tmp_path / "gone.jsonl")
    (ernie.home / "theirs.jsonl").write_text("{}\n")
    job = make_job()
    engine.write_config(job)
    assert (ernie.home / "PaddlePaddle" / "PaddleOCR-VL").resolve() == job.scratch / "model"
    assert not (ernie.home / "old-run-123456789012.jsonl").is_symlink()
    assert (ernie.home / "theirs.jsonl").is_file()


def test_another_model_than_the_familys_own_has_a_name_of_its_own(
    engine: ErnieKitEngine, ernie: Ernie, make_job: Callable[..., Any]
) -> None:
    job = make_job("model.name=/models/my-model", "model.family=0.9b")
    engine.write_config(job)
    (link,) = (ernie.home / "PaddlePaddle").iterdir()
    assert link.name != "PaddleOCR-VL"


def test_two_datasets_never_share_a_name(
    engine: ErnieKitEngine, ernie: Ernie, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    job = make_job()
    engine.write_config(job)
    job.train.write_text(job.train.read_text() * 2)
    engine.write_config(replace(job, scratch=tmp_path))
    assert len([path for path in ernie.home.glob("a-*.jsonl") if path.is_symlink()]) == 2
