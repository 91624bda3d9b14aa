"""Real training with PaddleFormers: checkpoints, every way of ending, several processes, adapters."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import yaml
from safetensors.torch import load_file

from conftest import wait_until
from ocrvl_modal.data.synthesis.digits import synthesize_digits
from ocrvl_modal.engines.base import STOPPED_EXIT_CODE, EngineFailed
from ocrvl_modal.jobs.process_marks import MARK, marked_processes
from with_paddle.conftest import Run

MakeRun = Callable[..., Run]

SAME_LOSS = 1e-4
"""PaddleFormers promises no exact resume; on one CPU process the losses differ by less than this, mostly by nothing."""


def test_a_run_saves_where_it_should_and_leaves_nothing_else_among_the_checkpoints(make_run: MakeRun) -> None:
    run = make_run("whole", max_steps=6)
    trained = run.finish()
    assert list(trained.losses) == [1, 2, 3, 4, 5, 6]
    assert trained.losses[6] < trained.losses[1]
    assert trained.saved == [4, 6]
    assert sorted(path.name for path in run.job.checkpoints.iterdir()) == ["checkpoint-4", "checkpoint-6"]
    assert (run.checkpoint(6) / "model-00001-of-00001.safetensors").is_file()
    assert not list(run.job.model.glob("*.metadata"))


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(make_run: MakeRun) -> None:
    straight = make_run("straight").finish()
    run = make_run("killed")
    killed = run.start(step_6=signal.SIGKILL)
    assert killed.code == -signal.SIGKILL
    resumed = run.resumed(4).finish()
    assert list(resumed.losses) == [5, 6, 7, 8]
    for step, loss in resumed.losses.items():
        assert loss == pytest.approx(straight.losses[step], abs=SAME_LOSS)


def test_data_workers_end_with_a_trainer_that_was_killed(make_run: MakeRun) -> None:
    mark = uuid.uuid4().hex
    run = make_run("orphans", "batch.num_workers=2", max_steps=500)
    run.environment[MARK] = mark
    assert run.start(step_3=signal.SIGKILL).code == -signal.SIGKILL
    wait_until(lambda: not marked_processes(mark), "the end of the data workers", timeout_s=10)


def test_what_merely_lies_among_the_checkpoints_is_not_resumed_from(make_run: MakeRun) -> None:
    run = make_run("again", max_steps=4)
    run.finish()
    assert list(run.finish().losses) == [1, 2, 3, 4]


@pytest.mark.parametrize("sets", [(), ("batch.num_workers=2",), ("hardware.num_processes=2", "batch.num_workers=1")])
def test_asked_to_stop_it_saves_and_says_that_it_did(make_run: MakeRun, sets: tuple[str, ...]) -> None:
    run = make_run("stopped", "checkpoint.save_steps=500", *sets, max_steps=500)
    stopped = run.start(step_3=signal.SIGTERM)
    assert stopped.code == STOPPED_EXIT_CODE, stopped.printed[-3000:]
    (step,) = stopped.saved
    assert step == max(stopped.losses)
    assert step < 500
    resumed = run.resumed(step, max_steps=step + 2).finish()
    assert list(resumed.losses) == [step + 1, step + 2]


def test_asked_to_stop_in_an_evaluation_it_does_not_wait_for_its_end(make_run: MakeRun, digits: Path) -> None:
    sets = ("batch.per_device_evaluation=1", "checkpoint.save_steps=500", "evaluation.eval_steps=2")
    run = make_run("evaluating", *sets, validation=digits / "train.jsonl", max_steps=500)
    stopped = run.start(step_2=signal.SIGTERM)
    assert (stopped.code, stopped.saved, stopped.evaluations) == (STOPPED_EXIT_CODE, [2], {})


def test_asked_to_stop_before_it_trains_it_ends_at_once(make_run: MakeRun) -> None:
    run = make_run("early")
    engine, command = run.prepare()
    loading = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    spy = run.job.scratch / "spy.py"
    registered = Path(_config(run)["custom_register_path"])
    spy.write_text(f"{registered.read_text()}\n{loading}\n")
    _set_config(run, custom_register_path=str(spy))
    stopped = run.start((engine, command))
    assert (stopped.code, stopped.losses) == (STOPPED_EXIT_CODE, {})


def test_two_processes_learn_what_one_learns_and_go_on_together(make_run: MakeRun, digits: Path) -> None:
    validation = digits / "validation.jsonl"
    alone = make_run("alone", "batch.per_device=8", validation=validation).finish()
    run = make_run("both", "batch.per_device=4", "hardware.num_processes=2", validation=validation)
    both = run.finish()
    assert both.saved == [4, 8]
    for step, loss in both.losses.items():
        assert loss == pytest.approx(alone.losses[step], abs=SAME_LOSS)
    assert both.evaluations[8] == pytest.approx(alone.evaluations[8], abs=SAME_LOSS)
    resumed = run.resumed(4).finish()
    for step, loss in resumed.losses.items():
        assert loss == pytest.approx(both.losses[step], abs=SAME_LOSS)


@pytest.mark.parametrize("targets", ["language", "all"])
def test_an_adapter_adapts_the_layers_that_the_recipe_names_and_goes_on(make_run: MakeRun, targets: str) -> None:
    sets = ("method=lora", "lora.rank=4", f"lora.targets={targets}")
    run = make_run("adapter", *sets)
    straight = run.finish()
    adapter = load_file(run.checkpoint(8) / "peft_model-00001-of-00001.safetensors")
    layers = {name.rpartition(".lora_")[0] for name in adapter}
    assert len(layers) == {"language": 14, "all": 28}[targets]
    assert all(layer.startswith("model.layers.") for layer in layers) is (targets == "language")
    resumed = run.resumed(4).finish()
    assert list(resumed.losses) == [5, 6, 7, 8]
    for step, loss in resumed.losses.items():
        assert loss == pytest.approx(straight.losses[step], abs=SAME_LOSS)


def test_data_prepared_by_workers_is_the_same_after_a_resume(make_run: MakeRun) -> None:
    straight_run = make_run("workers", "batch.num_workers=2")
    straight = straight_run.finish()
    resumed = straight_run.resumed(4).finish()
    for step, loss in resumed.losses.items():
        assert loss == pytest.approx(straight.losses[step], abs=SAME_LOSS)


def test_a_resumed_run_does_not_read_the_images_that_it_has_used(make_run: MakeRun, tmp_path: Path) -> None:
    # Many more than it trains on: batches are prepared far ahead.
    many = synthesize_digits(tmp_path / "many", train=2048, validation=1, test=1).train
    straight_run = make_run("used", "checkpoint.save_steps=2", train=many, max_steps=4)
    straight = straight_run.finish()
    run = straight_run.resumed(2)
    prepared = run.prepare()
    rows = run.job.scratch / "train.jsonl"
    lines = rows.read_text().splitlines()
    order = list(range(len(lines)))
    numpy.random.RandomState(run.job.recipe.seed).shuffle(order)
    # All samples of the first two steps but one, which stands in for the others.
    for number in order[1:16]:
        lines[number] = lines[number].replace("/images/", "/no-images/")
    rows.write_text("\n".join(lines) + "\n")
    resumed = run.start(prepared)
    assert resumed.code == 0, resumed.printed[-3000:]
    assert resumed.losses == {step: pytest.approx(straight.losses[step], abs=SAME_LOSS) for step in (3, 4)}


def test_recomputing_activations_changes_no_loss(make_run: MakeRun) -> None:
    plain = make_run("plain", max_steps=3).finish()
    recomputed = make_run("recomputed", "gradient_checkpointing=true", max_steps=3).finish()
    for step, loss in recomputed.losses.items():
        assert loss == pytest.approx(plain.losses[step], abs=SAME_LOSS)


@pytest.mark.parametrize("kind", ["linear", "constant"])
def test_every_course_of_the_learning_rate_is_one_that_it_knows(make_run: MakeRun, kind: str) -> None:
    assert make_run("course", f"schedule.kind={kind}", max_steps=3).finish().saved == [3]


def test_folders_whose_names_mean_something_to_paddleformers_do_no_harm(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("plain", max_steps=2)
    odd = tmp_path / "a, b#2 [c]"
    trained = replace(run, job=replace(run.job, scratch=odd / "scratch", checkpoints=odd / "checkpoints")).finish()
    assert trained.saved == [2]


def test_training_that_diverges_is_told_with_what_mends_it(make_run: MakeRun) -> None:
    run = make_run("diverging", "optimizer.learning_rate=1e30", "optimizer.max_grad_norm=1e30", warmup_steps=0)
    trained = run.start()
    (failed,) = [event for event in trained.events if isinstance(event, EngineFailed)]
    assert trained.code == 1
    assert "diverged" in failed.error.message
    assert "optimizer.learning_rate" in failed.error.hint


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_broke_since_the_check_ends_training_instead_of_being_skipped(
    make_run: MakeRun, digits: Path, workers: int
) -> None:
    run = make_run("broken", f"batch.num_workers={workers}", max_steps=8)
    prepared = run.prepare()
    rows = run.job.scratch / "train.jsonl"
    lines = rows.read_text().splitlines()
    lines[5] = lines[5].replace("/images/", "/no-images/")
    rows.write_text("\n".join(lines) + "\n")
    trained = run.start(prepared)
    failures = [event.error.message for event in trained.events if isinstance(event, EngineFailed)]
    assert trained.code != 0
    assert "no-images" in failures[0]


def test_shared_memory_of_other_runs_is_left_alone(make_run: MakeRun) -> None:
    other = Path("/dev/shm") / f"paddle_{uuid.uuid4().hex}"
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("this machine has no /dev/shm")
    other.touch()
    try:
        make_run("neighbour", max_steps=1).finish()
        assert other.exists()
    finally:
        other.unlink(missing_ok=True)


def _config(run: Run) -> dict[str, str]:
    config: dict[str, str] = yaml.safe_load(run.job.attempt.engine_config.read_text())
    return config


def _set_config(run: Run, **values: str) -> None:
    run.job.attempt.engine_config.write_text(yaml.safe_dump({**_config(run), **values}))
