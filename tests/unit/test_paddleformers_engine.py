"""What the supervisor asks of the PaddleFormers engine; nothing here needs Paddle."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.engines import get_engine
from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.engines.images import pixel_limits
from ocrvl_modal.engines.paddleformers import names
from ocrvl_modal.engines.paddleformers.config import Machine, engine_config
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY, PixelLimits
from ocrvl_modal.recipes import recipe_from
from ocrvl_modal.runs.layout import RunLayout

ON_CPU, ON_GPU = Machine(num_gpus=0), Machine(num_gpus=1)


def make_job(folder: Path, *sets: str, model: str = "tiny", **changes: Any) -> EngineJob:
    layout = RunLayout(folder / "run")
    member = FAMILY[model]
    job = EngineJob(
        recipe=recipe_from({"model": {"name": model}, "engine": "paddleformers"}, sets, family=member),
        member=member,
        model=folder / "model",
        train=folder / "train.jsonl",
        validation=folder / "validation.jsonl",
        max_steps=50,
        warmup_steps=5,
        attempt=layout.attempt(2),
        checkpoints=layout.checkpoints,
        resume_from=layout.checkpoint(20),
        scratch=folder / "scratch",
    )
    return replace(job, **changes)


@pytest.fixture
def real_job(tmp_path: Path, tiny: Path, digits: Path) -> EngineJob:
    """A job whose model and data are there."""
    (tmp_path / "scratch").mkdir()
    data = {"train": digits / "train.jsonl", "validation": digits / "validation.jsonl"}
    return replace(make_job(tmp_path, **data), model=tiny)


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("paddleocr-vl-0.9b", "ocrvl_space"),
        ("paddleocr-vl-1.5", "ocrvl_newline"),
        ("paddleocr-vl-1.6", "ocrvl_newline"),
        ("tiny", "ocrvl_space"),
    ],
)
def test_every_model_gets_the_template_of_its_own_prompt_tail(tmp_path: Path, model: str, template: str) -> None:
    config = engine_config(make_job(tmp_path, model=model), ON_GPU)
    assert config["template"] == template
    assert Path(config["custom_register_path"]).is_file()
    assert engine_config(make_job(tmp_path, "data.augmentation=true", model=model), ON_GPU)["template"] == (
        f"{template}_augmented"
    )


def test_on_a_gpu_it_computes_as_the_official_recipes_do(tmp_path: Path) -> None:
    config = engine_config(make_job(tmp_path, "gradient_checkpointing=true", model="paddleocr-vl-1.6"), ON_GPU)
    assert (config["device"], config["compute_type"], config["fp16_opt_level"]) == ("gpu", "bf16", "O2")
    assert (config["_attn_implementation"], config["amp_master_grad"]) == ("flashmask", True)
    assert (config["recompute_granularity"], config["recompute_method"]) == ("full", "uniform")
    assert (config["learning_rate"], config["min_lr"], config["weight_decay"]) == (5e-6, pytest.approx(5e-7), 0.1)
    assert (config["adam_beta1"], config["adam_beta2"], config["adam_epsilon"]) == (0.9, 0.95, 1e-8)


@pytest.mark.parametrize(("sets", "machine"), [((), ON_CPU), (("precision=float32",), ON_GPU)])
def test_in_float32_nothing_is_asked_for_that_only_16_bits_have(
    tmp_path: Path, sets: tuple[str, ...], machine: Machine
) -> None:
    config = engine_config(make_job(tmp_path, *sets), machine)
    assert (config["compute_type"], config["fp16_opt_level"]) == ("float32", "O1")
    assert (config["_attn_implementation"], config["amp_master_grad"]) == ("sdpa", False)
    assert config["recompute_granularity"] is None


def test_bf16_without_a_gpu_is_refused_with_the_word_that_mends_it(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError) as caught:
        engine_config(make_job(tmp_path, "precision=bf16"), ON_CPU)
    assert (caught.value.code, caught.value.hint) == (ExitCode.USAGE, "--set precision=float32")


def test_checkpoints_can_be_resumed_by_one_process_and_never_from_what_merely_lies_there(tmp_path: Path) -> None:
    config = engine_config(make_job(tmp_path, "checkpoint.save_steps=7"), ON_CPU)
    assert (config["save_checkpoint_format"], config["load_checkpoint_format"]) == ("unified_checkpoint",) * 2
    assert (config["save_steps"], config["overwrite_output_dir"]) == (7, True)
    assert config["resume_from_checkpoint"] == str(tmp_path / "run" / "checkpoints" / "checkpoint-20")
    assert "save_total_limit" not in config
    assert engine_config(make_job(tmp_path, resume_from=None), ON_CPU)["resume_from_checkpoint"] is None


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ((), {"lr_scheduler_type": "cosine", "min_lr": 0.0}),
        (
            ("schedule.kind=linear", "schedule.min_learning_rate_ratio=0.1"),
            {"lr_scheduler_type": "polynomial", "power": 1.0, "lr_end": pytest.approx(3e-4)},
        ),
        (("schedule.kind=constant",), {"lr_scheduler_type": "constant_with_warmup"}),
        (("schedule.min_learning_rate_ratio=1",), {"lr_scheduler_type": "constant_with_warmup"}),
    ],
)
def test_the_learning_rate_falls_to_its_minimum_in_every_course(
    tmp_path: Path, sets: tuple[str, ...], expected: dict[str, Any]
) -> None:
    config = engine_config(make_job(tmp_path, *sets), ON_CPU)
    assert {key: config[key] for key in expected} == expected
    assert (config["max_steps"], config["warmup_steps"], config["warmup_ratio"]) == (50, 5, 0.0)


def test_a_run_that_only_warms_up_divides_by_nothing(tmp_path: Path) -> None:
    config = engine_config(make_job(tmp_path, "schedule.kind=linear", max_steps=5), ON_CPU)
    assert config["lr_scheduler_type"] == "constant_with_warmup"


def test_full_training_is_evaluated_and_an_adapter_is_not(tmp_path: Path) -> None:
    full = engine_config(make_job(tmp_path, "evaluation.eval_steps=9"), ON_CPU)
    assert (full["do_eval"], full["evaluation_strategy"], full["eval_steps"]) == (True, "steps", 9)
    for job in (make_job(tmp_path, "method=lora"), make_job(tmp_path, validation=None)):
        config = engine_config(job, ON_CPU)
        assert (config["do_eval"], config["evaluation_strategy"]) == (False, "no")
        assert "eval_dataset_path" not in config
        assert yaml.safe_load(yaml.safe_dump(config))["evaluation_strategy"] == "no"


def test_an_adapter_has_its_rank(tmp_path: Path) -> None:
    config = engine_config(make_job(tmp_path, "method=lora", "lora.rank=4"), ON_CPU)
    assert (config["fine_tuning"], config["lora_rank"]) == ("LoRA", 4)
    assert "lora_rank" not in engine_config(make_job(tmp_path), ON_CPU)


def test_the_rows_are_named_without_a_folder_whose_name_could_mean_something(tmp_path: Path) -> None:
    job = make_job(tmp_path / "a, b#2")
    config = engine_config(job, ON_CPU)
    assert (config["train_dataset_path"], config["eval_dataset_path"]) == ("train.jsonl", "validation.jsonl")
    assert get_engine("paddleformers").working_folder(job) == job.scratch


@pytest.mark.parametrize(
    ("sets", "reason", "hint"),
    [
        (("lora.rank=4", "lora.alpha=4"), "twice its rank", "lora.alpha=8"),
        (("lora.dropout=0.1",), "without dropout", "lora.dropout=0"),
    ],
)
def test_what_an_adapter_cannot_have_is_refused_with_the_word_that_mends_it(
    sets: tuple[str, ...], reason: str, hint: str
) -> None:
    engine, member = get_engine("paddleformers"), FAMILY["tiny"]
    with pytest.raises(OcrvlError, match=reason) as caught:
        engine.check(recipe_from({"method": "lora"}, sets), member)
    assert caught.value.code == ExitCode.USAGE
    assert hint in caught.value.hint
    assert engine.check(recipe_from({"method": "full"}, sets), member) == ()


@pytest.mark.parametrize("seed", [0, 2**31 + 1])
def test_a_seed_that_paddleformers_stops_at_is_refused(seed: int) -> None:
    with pytest.raises(OcrvlError, match="seeds from 1") as caught:
        get_engine("paddleformers").check(recipe_from({}, [f"seed={seed}"]), FAMILY["tiny"])
    assert caught.value.code == ExitCode.USAGE


def test_an_adapter_with_validation_data_is_warned_about_and_nothing_else_is() -> None:
    engine, member = get_engine("paddleformers"), FAMILY["paddleocr-vl-1.6"]
    (warning,) = engine.check(recipe_from({"method": "lora", "data": {"validation": "v.jsonl"}}), member)
    assert "no evaluation loss" in warning
    assert engine.check(recipe_from({"data": {"validation": "v.jsonl"}}), member) == ()
    assert engine.check(recipe_from({"method": "lora"}), member) == ()


def test_the_store_s_model_is_linked_to_and_never_written_to(real_job: EngineJob, tiny: Path) -> None:
    before = {path.name: path.read_bytes() for path in tiny.iterdir()}
    get_engine("paddleformers").write_config(real_job)
    copy = names.model(real_job)
    assert (copy / "model.safetensors").resolve() == tiny / "model.safetensors"
    assert json.loads((copy / "config.json").read_text())["fuse_rms_norm"] is False
    assert {path.name: path.read_bytes() for path in tiny.iterdir()} == before
    assert set(before) == {path.name for path in copy.iterdir()}
    assert not any(path.is_symlink() for path in copy.iterdir() if path.suffix != ".safetensors")


def test_pixel_limits_stand_under_the_only_names_that_paddleformers_reads(
    real_job: EngineJob, tmp_path: Path, tiny: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    config = json.loads((model / "preprocessor_config.json").read_text())
    size = {"shortest_edge": config.pop("min_pixels"), "longest_edge": config.pop("max_pixels")}
    (model / "preprocessor_config.json").write_text(json.dumps({**config, "size": size}))
    job = replace(real_job, model=model, recipe=recipe_from(real_job.recipe.model_dump(), ["pixels.maximum=9408"]))
    get_engine("paddleformers").write_config(job)
    written = json.loads((names.model(job) / "preprocessor_config.json").read_text())
    assert (written["min_pixels"], written["max_pixels"]) == (1568, 9408)
    assert pixel_limits(names.model(job)) == PixelLimits(1568, 9408)


@pytest.mark.parametrize("lost", ["lm_head.weight", "packing_position_embedding.weight"])
def test_weights_that_paddleformers_would_refuse_are_refused_before_it_starts(
    real_job: EngineJob, tmp_path: Path, tiny: Path, lost: str
) -> None:
    from safetensors.numpy import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    tensors = {name: tensor for name, tensor in load_file(tiny / "model.safetensors").items() if lost not in name}
    save_file(tensors, model / "model.safetensors")
    with pytest.raises(OcrvlError, match=lost) as caught:
        get_engine("paddleformers").write_config(replace(real_job, model=model))
    assert "--engine transformers" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0notjson!"])
def test_weights_that_are_none_are_an_error_that_names_the_file(
    real_job: EngineJob, tmp_path: Path, tiny: Path, content: bytes
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(OcrvlError, match="not a safetensors file"):
        get_engine("paddleformers").write_config(replace(real_job, model=model))


def test_rows_of_either_form_become_rows_of_one_form_with_absolute_images(real_job: EngineJob) -> None:
    get_engine("paddleformers").write_config(real_job)
    rows = [json.loads(line) for line in names.train(real_job).read_text().splitlines()]
    samples = read_samples(real_job.train)
    assert len(rows) == len(samples) == 64
    for row, sample in zip(rows, samples, strict=True):
        question, answer = row["messages"]
        assert question == {"role": "user", "content": names.IMAGE_MARK + sample.prompt}
        assert answer == {"role": "assistant", "content": sample.target}
        assert row["images"] == [str(sample.image)]
        assert sample.image.is_absolute()


def test_words_of_a_page_that_paddleformers_takes_for_media_are_given_marks_of_our_own(tmp_path: Path) -> None:
    environment = get_engine("paddleformers").environment(make_job(tmp_path))
    marks = {environment[name] for name in ("IMAGE_PLACEHOLDER", "VIDEO_PLACEHOLDER", "AUDIO_PLACEHOLDER")}
    assert len(marks) == 3
    assert not marks & {"<image>", "<video>", "<audio>"}


def test_one_process_is_started_directly_and_several_by_our_own_launcher(tmp_path: Path) -> None:
    engine = get_engine("paddleformers")
    job = make_job(tmp_path, "hardware.num_processes=1")
    config = tmp_path / "engine.yaml"
    alone = engine.command(job, config)
    assert alone == [sys.executable, "-u", "-m", "paddleformers.cli.launcher", "train", str(config)]
    several = engine.command(make_job(tmp_path, "hardware.num_processes=3"), config)
    assert several[:5] == [sys.executable, "-m", "ocrvl_modal.engines.paddleformers.launch", "3", str(job.worker_logs)]
    assert several[5:] == alone


def test_a_resumed_run_is_told_how_much_of_the_data_lies_behind_it(tmp_path: Path) -> None:
    sets = ("batch.per_device=3", "batch.gradient_accumulation=5", "hardware.num_processes=2")
    engine = get_engine("paddleformers")
    resumed = engine.environment(make_job(tmp_path, *sets))
    assert (resumed[names.USED_BATCHES_VARIABLE], resumed[names.BATCH_SAMPLES_VARIABLE]) == ("100", "6")
    fresh = engine.environment(make_job(tmp_path, *sets, resume_from=None))
    assert fresh[names.USED_BATCHES_VARIABLE] == "0"


def test_its_processes_find_this_package_and_a_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = get_engine("paddleformers").environment(make_job(tmp_path, "hardware.threads=3"))
    *found, last = environment["PYTHONPATH"].split(os.pathsep)
    assert last == "/elsewhere"
    assert any((Path(folder) / "ocrvl_modal" / "engines" / "base.py").is_file() for folder in found)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["OCRVL_SUPERVISOR_PID"] == str(os.getpid())
