"""The faults of PaddleFormers 1.2.0 that the engine works around: each still there, or its handling can go."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocrvl_modal.engines.paddleformers import names
from with_paddle.conftest import Run, Trained

MakeRun = Callable[..., Run]


def start_with(run: Run, model: dict[str, Any] | None = None, **config: Any) -> Trained:
    """Start a run whose configuration, or whose model's, was changed behind the engine's back."""
    prepared = run.prepare()
    path = run.job.attempt.engine_config
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **config}))
    if model:
        file = names.model(run.job) / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **model}))
    return run.start(prepared)


def test_a_key_that_it_does_not_know_ends_it(make_run: MakeRun) -> None:
    trained = start_with(make_run("key"), no_such_key=1)
    assert trained.code == 1
    assert "not the version" in trained.events[-1].error.message  # type: ignore[union-attr]


def test_without_a_triton_of_some_kind_it_cannot_be_imported(make_run: MakeRun, tmp_path: Path) -> None:
    if importlib.util.find_spec("triton"):
        pytest.skip("a real triton is installed")
    run = make_run("triton", max_steps=1)
    run.environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    trained = run.start()
    assert trained.code == 1
    assert "triton" in trained.printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("config", "model"),
    [
        ({"_attn_implementation": "flashmask"}, None),
        ({}, {"fuse_rms_norm": True}),
        ({"fp16_opt_level": "O2"}, None),
        ({"train_dataset_path": "train, old.jsonl"}, None),
        ({"seed": 0}, None),
    ],
)
def test_on_a_cpu_it_fails_at_what_the_engine_turns_off(
    make_run: MakeRun, config: dict[str, Any], model: dict[str, Any] | None
) -> None:
    trained = start_with(make_run("cpu", max_steps=2), model, **config)
    assert trained.code == 1
    assert trained.losses == {}


def test_it_cannot_evaluate_an_adapter(make_run: MakeRun, digits: Path) -> None:
    run = make_run("adapter", "method=lora", max_steps=2)
    names_of_rows = {"eval_dataset_path": "train.jsonl", "eval_dataset_type": "messages", "eval_dataset_prob": "1.0"}
    trained = start_with(run, do_eval=True, evaluation_strategy="steps", eval_steps=1, **names_of_rows)
    assert trained.code == 1
    assert "GPTModel" in trained.printed


def test_one_process_cannot_resume_from_the_checkpoints_of_the_official_recipes(make_run: MakeRun) -> None:
    flexible = {"save_checkpoint_format": "flex_checkpoint", "load_checkpoint_format": "flex_checkpoint"}
    run = make_run("flexible", max_steps=8)
    assert start_with(run, **flexible).code == 0
    resumed = start_with(run.resumed(4), **flexible)
    assert resumed.code == 1
    assert "_hcg" in resumed.printed


def test_where_it_may_it_resumes_from_whatever_lies_in_its_folder(make_run: MakeRun) -> None:
    run = make_run("lying", max_steps=4)
    run.finish()
    assert start_with(run, overwrite_output_dir=False, max_steps=5).losses.keys() == {5}


def test_its_own_merge_of_an_adapter_writes_the_numbers_in_the_wrong_order(make_run: MakeRun, tmp_path: Path) -> None:
    """Its sums are ours; but it hands transposed arrays to safetensors, which writes them as they lie in memory."""
    import subprocess
    import sys

    from safetensors.torch import load_file

    from ocrvl_modal.engines.paddleformers.adapter import merge_adapter

    run = make_run("merge", "method=lora", "lora.rank=4", max_steps=4)
    run.finish()
    merge_adapter(run.checkpoint(4), run.job.model, tmp_path)
    ours = load_file(tmp_path / "model.safetensors")
    engine, _ = run.prepare()
    request = {
        "fine_tuning": "LoRA",
        "model_name_or_path": str(names.model(run.job)),
        "output_dir": str(run.job.checkpoints),
        "device": "cpu",
        "compute_type": "float32",
        "fp16_opt_level": "O1",
        "amp_master_grad": False,
    }
    config = tmp_path / "export.yaml"
    config.write_text(yaml.safe_dump(request))
    subprocess.run(
        [sys.executable, "-m", "paddleformers.cli.launcher", "export", str(config)],
        env={**os.environ, **engine.environment(run.job)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (file,) = (run.job.checkpoints / "export").glob("*.safetensors")
    theirs = load_file(file)
    layer = "model.layers.0.self_attn.k_proj.weight"
    assert theirs.keys() == ours.keys()
    in_order = theirs[layer]
    as_they_lie = in_order.reshape(in_order.shape[::-1]).T
    assert in_order.shape == ours[layer].shape
    assert min(float((tensor - ours[layer]).abs().max()) for tensor in (in_order, as_they_lie)) < 1e-6
