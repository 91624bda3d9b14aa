"""What the supervisor asks of the transformers engine; nothing here needs torch."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.engines import get_engine
from ocrvl_modal.engines.base import CheckpointSaved, EngineFailed, EngineJob, EvaluationLogged, StepLogged
from ocrvl_modal.engines.trainer.config import read_config
from ocrvl_modal.engines.transformers import TransformersEngine
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.gpus import visible_gpus
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import recipe_from
from ocrvl_modal.runs.layout import RunLayout

ENGINE = TransformersEngine()


def make_job(folder: Path, *sets: str, model: str = "tiny") -> EngineJob:
    layout = RunLayout(folder / "run")
    return EngineJob(
        recipe=recipe_from({"model": {"name": model}}, sets),
        member=FAMILY[model],
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


JOB = make_job(Path("somewhere"))


@pytest.fixture
def fake_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what puts an ``nvidia-smi`` that lists so many GPUs in place of this machine's."""

    def fake(count: int) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        listing = "\n".join(f"GPU {number}: Toy {number} (UUID: GPU-{number})" for number in range(count))
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}\nEND\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return fake


def test_the_engine_is_found_by_its_name() -> None:
    assert get_engine("transformers").name == "transformers"


def test_the_configuration_names_every_value_that_decides_the_run(tmp_path: Path) -> None:
    job = make_job(tmp_path, "method=lora", "lora.rank=4", "pixels.maximum=9000", "seed=5", "hardware.num_processes=2")
    path = ENGINE.write_config(job)
    config = read_config(path)

    assert path == job.attempt.engine_config
    assert config.prompt_template == job.member.render_prompt("{prompt}")
    assert (config.pixels.minimum, config.pixels.maximum) == (job.member.pixels.minimum, 9000)
    assert (config.lora.rank, config.lora.alpha) == (4, 8)
    assert (config.schedule.max_steps, config.schedule.warmup_steps) == (50, 5)
    assert (config.seed, config.num_processes, config.resume_from) == (5, 2, job.resume_from)
    assert config.optimizer == job.recipe.optimizer


def test_the_configuration_is_yaml_that_a_person_can_read(tmp_path: Path) -> None:
    content = yaml.safe_load(ENGINE.write_config(make_job(tmp_path)).read_text())
    assert content["batch"]["per_device"] == 16
    assert content["train"] == str(tmp_path / "train.jsonl")


@pytest.mark.parametrize("text", ["", "][", "model: x", "{}"])
def test_a_file_that_is_no_configuration_is_a_usage_error_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "engine.yaml"
    path.write_text(text)
    with pytest.raises(OcrvlError, match=r"engine\.yaml") as caught:
        read_config(path)
    assert caught.value.code is ExitCode.USAGE


def test_a_prompt_goes_into_the_template_as_it_is(tmp_path: Path) -> None:
    config = read_config(ENGINE.write_config(make_job(tmp_path, model="paddleocr-vl-1.6")))
    prompt = "Read {prompt} %s \\n:"
    assert config.render_prompt(prompt) == FAMILY["paddleocr-vl-1.6"].render_prompt(prompt)


def test_the_command_is_this_python_on_the_configuration(tmp_path: Path) -> None:
    command = ENGINE.command(JOB, tmp_path / "engine.yaml")
    assert command == [sys.executable, "-m", "ocrvl_modal.engines.trainer", str(tmp_path / "engine.yaml")]


def test_the_environment_keeps_libraries_offline_and_names_the_supervisor() -> None:
    environment = ENGINE.environment(JOB)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["OCRVL_SUPERVISOR_PID"] == str(os.getpid())


@pytest.mark.parametrize(("sets", "threads"), [((), "1"), (("hardware.threads=3",), "3")])
def test_the_tiny_model_takes_one_thread_unless_told(tmp_path: Path, sets: tuple[str, ...], threads: str) -> None:
    assert ENGINE.environment(make_job(tmp_path, *sets))["OMP_NUM_THREADS"] == threads


def test_processes_share_the_cores(tmp_path: Path) -> None:
    job = make_job(tmp_path, f"hardware.num_processes={2 * (os.cpu_count() or 1)}", model="paddleocr-vl-1.6")
    assert ENGINE.environment(job)["OMP_NUM_THREADS"] == "1"


def test_one_process_runs_where_there_is_no_gpu(tmp_path: Path, fake_gpus: Any) -> None:
    fake_gpus(0)
    assert read_config(ENGINE.write_config(make_job(tmp_path))).num_processes == 1


def test_one_process_runs_on_each_visible_gpu(tmp_path: Path, fake_gpus: Any) -> None:
    fake_gpus(4)
    assert read_config(ENGINE.write_config(make_job(tmp_path))).num_processes == 4
    assert read_config(ENGINE.write_config(make_job(tmp_path, "hardware.num_processes=2"))).num_processes == 2


@pytest.mark.parametrize(
    ("chosen", "seen"),
    [
        ("0,2", ["Toy 0", "Toy 2"]),
        ("", []),
        ("-1", []),
        ("1,-1,2", ["Toy 1"]),
        ("0,1,2,3,4,5", ["Toy 0", "Toy 1", "Toy 2", "Toy 3"]),
        ("GPU-0", ["GPU-0"]),
    ],
)
def test_hidden_gpus_are_not_seen(
    fake_gpus: Any, monkeypatch: pytest.MonkeyPatch, chosen: str, seen: list[str]
) -> None:
    fake_gpus(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == seen


def test_lines_become_events() -> None:
    log = """\
training 341952 parameters in float32 on 1 x cpu
loss: 2.302585092994046, learning_rate: 0.0003, global_step: 12, grad_norm: 0.5, samples_per_second: 101.25
eval_loss: 0.125, global_step: 12
saved checkpoint-12
error: {"code": "data_invalid", "message": "line 3: no image", "hint": "mend it"}
"""
    assert ENGINE.read_line(log.splitlines()[0], JOB) == ()
    events = [event for line in log.splitlines()[1:] for event in ENGINE.read_line(line, JOB)]
    step, evaluation, saved, failed = events
    assert step == StepLogged(12, 2.302585092994046, 0.0003, {"grad_norm": 0.5, "samples_per_second": 101.25})
    assert evaluation == EvaluationLogged(12, 0.125)
    assert saved == CheckpointSaved(12, JOB.checkpoints / "checkpoint-12")
    assert isinstance(failed, EngineFailed)
    assert (failed.error.message, failed.error.code) == ("line 3: no image", ExitCode.DATA_INVALID)


@given(st.text() | st.from_regex(r"(loss|eval_loss|global_step): [\d.e+-]{1,9}(, global_step: [\d.]{1,5})?"))
def test_no_line_makes_the_engine_raise(line: str) -> None:
    ENGINE.read_line(line, JOB)


def test_the_trainer_starts_in_the_attempts_folder_and_its_lines_say_it_all(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    assert ENGINE.working_folder(job) == job.attempt.root
    assert ENGINE.at_end(1, job) == ()
    assert ENGINE.check(job.recipe, job.member) == ()


def test_a_run_without_validation_or_checkpoint_says_so(tmp_path: Path) -> None:
    config = read_config(ENGINE.write_config(replace(make_job(tmp_path), validation=None, resume_from=None)))
    assert config.validation is None
    assert config.resume_from is None
