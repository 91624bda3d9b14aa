"""Several processes learn what one would have learned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE, CheckpointSaved, EngineFailed
from ocrvl_modal.errors import ExitCode

MakeWork = Callable[..., Any]
TWO = ("hardware.num_processes=2",)
ONE = ("batch.gradient_accumulation=2",)

pytestmark = pytest.mark.slow


def assert_nearly_equal(one: Any, two: Any, step: int) -> None:
    ours, others = (load_file(work.weight_files(step)[0]) for work in (one, two))
    assert ours.keys() == others.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def ranks_of(launcher: int) -> list[int]:
    """Return the processes that a launcher has started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text()
    return [int(child) for child in children.split()]


def wait_for_step(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.startswith("loss:"):
            return
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.mark.parametrize(
    "sets", [(), ("method=lora",), ("batch.gradient_accumulation=4",)], ids=["full", "lora", "accumulation"]
)
def test_two_processes_learn_what_one_does(make_work: MakeWork, digits: Path, sets: tuple[str, ...]) -> None:
    accumulation = "batch.gradient_accumulation=8" if sets == ("batch.gradient_accumulation=4",) else ONE[0]
    validation = digits / "validation.jsonl"
    # Three batches to evaluate, so that one process has more of them than the other.
    uneven = "batch.per_device_evaluation=3"
    one = make_work("one", *sets, accumulation, uneven, validation=validation, max_steps=3)
    two = make_work("two", *sets, *TWO, uneven, validation=validation, max_steps=3)
    alone, together = (work.events(work.train_as_child()) for work in (one, two))
    assert [type(event) for event in together] == [type(event) for event in alone]
    for ours, other in zip(alone, together, strict=True):
        if not isinstance(ours, CheckpointSaved):
            value = "loss" if hasattr(ours, "loss") else "eval_loss"
            assert getattr(other, value) == pytest.approx(getattr(ours, value), rel=1e-5)
    assert_nearly_equal(one, two, 3)


def test_two_processes_go_on_bit_identical(make_work: MakeWork) -> None:
    sets = ("method=lora", "lora.dropout=0.2", *TWO)
    straight, cut = make_work("straight", *sets), make_work("cut", *sets)
    straight.train_as_child()
    cut.train_as_child()
    expected = straight.weights(6)
    assert cut.weights(6) == expected
    cut.checkpoint(6).rename(cut.checkpoints / "elsewhere")
    cut.resumed(3).train_as_child()
    assert cut.weights(6) == expected


def test_a_run_of_two_processes_goes_on_with_one(make_work: MakeWork) -> None:
    straight = make_work("run", *TWO)
    straight.train_as_child()
    straight.checkpoint(6).rename(straight.checkpoints / "elsewhere")
    again = make_work("run", *ONE, resume_from=straight.checkpoint(3))
    again.train_here()
    assert again.weights(6)


@pytest.mark.parametrize("to_all", [True, False], ids=["to the group", "to the launcher"])
def test_processes_that_are_asked_to_stop_save_together(make_work: MakeWork, to_all: bool) -> None:
    work = make_work("stopped", *TWO, "checkpoint.save_steps=100000", max_steps=100_000)
    with work.start(start_new_session=True) as process:
        wait_for_step(process)
        (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
        assert process.stdout
        saved = work.events(process.stdout.read())[-1]
        assert process.wait(timeout=60) == STOPPED_EXIT_CODE
    assert isinstance(saved, CheckpointSaved)
    assert work.weights(saved.step)


def test_when_one_process_dies_the_run_ends(make_work: MakeWork) -> None:
    work = make_work("died", *TWO, "checkpoint.save_steps=100000", max_steps=100_000)
    with work.start() as process:
        wait_for_step(process)
        first, second = ranks_of(process.pid)
        os.kill(second, signal.SIGKILL)
        assert process.stdout
        process.stdout.read()
        assert process.wait(timeout=60) == -signal.SIGKILL % 256
    assert not Path(f"/proc/{first}").exists()


def test_no_process_outlives_a_killed_launcher(make_work: MakeWork) -> None:
    work = make_work("orphans", *TWO, "checkpoint.save_steps=100000", max_steps=100_000)
    with work.start() as process:
        wait_for_step(process)
        ranks = ranks_of(process.pid)
        process.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{rank}").exists() for rank in ranks):
        assert time.monotonic() < deadline, "a trainer outlived its launcher"
        time.sleep(0.05)


def test_an_error_of_all_processes_is_told(make_work: MakeWork) -> None:
    work = make_work("bad", *TWO, "data.max_seq_len=16")
    errors = [event for event in work.events(work.train_as_child(code=1)) if isinstance(event, EngineFailed)]
    assert {failed.error.code for failed in errors} == {ExitCode.DATA_INVALID}


def test_torchrun_can_start_the_trainer(make_work: MakeWork) -> None:
    work = make_work("torchrun", *TWO, max_steps=1)
    config = work.engine.write_config(work.job)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    module = ["-m", "ocrvl_modal.engines.trainer", str(config)]
    done = subprocess.run(
        [sys.executable, *command, *module],
        env={**os.environ, **work.engine.environment(work.job)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert work.weights(1)
