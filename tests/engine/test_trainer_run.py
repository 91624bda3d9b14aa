"""What a run leaves, what it goes on from, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ocrvl_modal.engines.base import CheckpointSaved, EvaluationLogged, StepLogged
from ocrvl_modal.engines.transformers import TransformersEngine
from ocrvl_modal.errors import ExitCode, OcrvlError

ENGINE = TransformersEngine()
MakeWork = Callable[..., Any]


def test_what_a_killed_save_left_is_removed(make_work: MakeWork) -> None:
    work = make_work("leftovers", max_steps=1)
    left = work.checkpoints / ".checkpoint-3.abc.tmp"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    work.train_here()
    assert [path.name for path in work.checkpoints.iterdir()] == ["checkpoint-1"]


def test_an_unfinished_checkpoint_of_the_same_step_is_replaced(make_work: MakeWork) -> None:
    work = make_work("unfinished", max_steps=1)
    work.checkpoint(1).mkdir(parents=True)
    (work.checkpoint(1) / "junk").touch()
    work.train_here()
    assert not (work.checkpoint(1) / "junk").exists()
    assert work.weights(1)


def test_a_checkpoint_is_a_model_that_transformers_loads(make_work: MakeWork) -> None:
    from transformers import AutoProcessor, PaddleOCRVLForConditionalGeneration

    from ocrvl_modal.engines.reader import quiet_transformers

    work = make_work("loadable", max_steps=1)
    work.train_here()
    folder = work.checkpoint(1)
    with quiet_transformers():
        _, info = PaddleOCRVLForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
        processor = AutoProcessor.from_pretrained(folder)
    assert not any(info.values())
    assert processor.tokenizer.eos_token == "</s>"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_a_checkpoint_s_state_is_loaded_without_running_code(make_work: MakeWork) -> None:
    work = make_work("state", max_steps=1)
    work.train_here()
    assert torch.load(work.checkpoint(1) / "trainer_state.pt", weights_only=True)["step"] == 1
    assert json.loads((work.checkpoint(1) / "training.json").read_text())["step"] == 1


def test_evaluation_comes_before_the_checkpoint_of_its_step(
    make_work: MakeWork, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = make_work("evaluated", validation=digits / "validation.jsonl", max_steps=4)
    work.train_here()
    kinds = [(type(event), event.step) for event in work.events(capsys.readouterr().out)]
    ends = [(EvaluationLogged, 4), (CheckpointSaved, 4)]
    middle = [(StepLogged, 3), (EvaluationLogged, 3), (CheckpointSaved, 3), (StepLogged, 4)]
    assert kinds == [(StepLogged, 1), (StepLogged, 2), *middle, *ends]


def test_a_request_to_stop_ends_an_evaluation_and_saves(
    make_work: MakeWork, digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A preempted container has seconds, and an evaluation may take minutes."""
    from ocrvl_modal.engines.trainer import evaluation
    from ocrvl_modal.engines.trainer.config import read_config
    from ocrvl_modal.engines.trainer.loop import train
    from ocrvl_modal.engines.trainer.stopping import StopRequest

    stop = StopRequest()
    taken = []

    def batches_until_the_signal(*arguments: Any) -> Iterator[Any]:
        for batch in real_batches(*arguments):
            taken.append(batch)
            stop.requested = True
            yield batch

    real_batches = evaluation.batches
    monkeypatch.setattr(evaluation, "batches", batches_until_the_signal)
    sets = ("evaluation.eval_steps=2", "checkpoint.save_steps=100", "batch.per_device_evaluation=1")
    work = make_work("stopped", *sets, validation=digits / "validation.jsonl", max_steps=6)
    assert train(read_config(ENGINE.write_config(work.job)), stop) is False
    kinds = [(type(event), event.step) for event in work.events(capsys.readouterr().out)]
    assert kinds == [(StepLogged, 1), (StepLogged, 2), (CheckpointSaved, 2)]
    assert len(taken) == 1


def test_evaluation_changes_nothing_of_the_training(make_work: MakeWork, digits: Path) -> None:
    sets = ("method=lora", "lora.dropout=0.5")
    with_evaluation = make_work("with", *sets, validation=digits / "validation.jsonl")
    without = make_work("without", *sets)
    with_evaluation.train_here()
    without.train_here()
    assert with_evaluation.weights(6) == without.weights(6)


def test_dropout_acts_while_training(make_work: MakeWork, capsys: pytest.CaptureFixture[str]) -> None:
    losses = []
    for dropout in ("0.0", "0.5"):
        work = make_work(dropout, "method=lora", f"lora.dropout={dropout}", "optimizer.learning_rate=1e-3", max_steps=2)
        work.train_here()
        losses.append(work.losses(capsys.readouterr().out))
    without, with_dropout = losses
    # A fresh adapter adds nothing, so there is nothing to drop in the first step.
    assert without[1] == with_dropout[1]
    assert without[2] != with_dropout[2]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("batch.per_device=2", "batch.per_device"),
        ("batch.gradient_accumulation=2", "samples_per_step"),
        ("seed=24", "seed"),
        ("method=lora", "method"),
    ],
)
def test_a_run_does_not_go_on_with_what_would_break_its_order(make_work: MakeWork, changed: str, named: str) -> None:
    work = make_work("before", max_steps=1)
    work.train_here()
    with pytest.raises(OcrvlError, match=named) as caught:
        make_work("before", changed, resume_from=work.checkpoint(1)).train_here()
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.hint


def test_a_run_does_not_go_on_with_other_samples(make_work: MakeWork, digits: Path) -> None:
    work = make_work("samples", max_steps=1)
    work.train_here()
    with pytest.raises(OcrvlError, match="other training samples"):
        work.resumed(1, train=digits / "test.jsonl", max_steps=2).train_here()


def test_a_run_may_be_made_longer_and_learn_at_another_rate(make_work: MakeWork) -> None:
    make_work("longer", max_steps=1).train_here()
    longer = make_work("longer", "optimizer.learning_rate=1e-5", max_steps=2)
    assert longer.resumed(1).train_here()
    assert longer.weights(2)


def test_a_folder_that_is_no_checkpoint_is_refused(make_work: MakeWork, tmp_path: Path) -> None:
    with pytest.raises(OcrvlError, match="not a checkpoint") as caught:
        make_work("none", resume_from=tmp_path).train_here()
    assert caught.value.code is ExitCode.USAGE


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing(make_work: MakeWork) -> None:
    sets = ("optimizer.learning_rate=1e30", "optimizer.max_grad_norm=1e30", "checkpoint.save_steps=2")
    work = make_work("diverged", *sets, warmup_steps=0)
    with pytest.raises(OcrvlError, match="diverged at step 2") as caught:
        work.train_here()
    assert "learning_rate" in caught.value.hint
    assert list(work.checkpoints.iterdir()) == []


@pytest.mark.parametrize(("checkpointing", "mended"), [("false", "gradient_checkpointing"), ("true", "per_device=2")])
def test_too_little_gpu_memory_names_what_needs_less(
    make_work: MakeWork, monkeypatch: pytest.MonkeyPatch, checkpointing: str, mended: str
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    # A CPU runs out of memory by being killed, so a GPU's way of saying it has to be played.
    monkeypatch.setattr("ocrvl_modal.engines.trainer.model.LossModel.forward", full)
    with pytest.raises(OcrvlError, match="memory") as caught:
        make_work("memory", f"gradient_checkpointing={checkpointing}").train_here()
    assert mended in caught.value.hint


def test_bf16_on_a_cpu_is_refused(make_work: MakeWork) -> None:
    with pytest.raises(OcrvlError, match="a CPU") as caught:
        make_work("bf16", "precision=bf16").train_here()
    assert caught.value.code is ExitCode.USAGE
