"""The house's first promise of runs: whatever dies, at most one save interval is lost, and the result is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import Shell, wait_until
from ocrvl_modal.runs.metrics import parse_rows

STEPS = 120
SHORT = ("--set", f"schedule.max_steps={STEPS}", "--set", "checkpoint.save_steps=10", "--set", "batch.per_device=4")
TRAIN = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--backend", "local", *SHORT)


def supervisor_of(shell: Shell, run: str) -> int:
    return int(shell.record(run)["attempts"][-1]["call_id"])


def engine_of(shell: Shell, run: str) -> int:
    return int((shell.run_folder(run) / ".engine.group").read_text())


def step_of(shell: Shell, run: str, attempt: int = 1) -> int:
    """The last step that an attempt has logged; what earlier attempts logged does not count."""
    path = shell.run_folder(run) / "metrics.jsonl"
    rows = parse_rows(path.read_text()) if path.is_file() else []
    return max((row["step"] for row in rows if row["attempt"] == attempt), default=0)


def shown_state(shell: Shell, run: str) -> str:
    state: str = shell("runs", "show", run, "--json").data["run"]["state"]
    return state


def wait_until_trained_to(
    shell: Shell, run: str, step: int, process: subprocess.Popen[bytes], attempt: int = 1
) -> None:
    wait_until(lambda: step_of(shell, run, attempt) >= step or process.poll() is not None, f"{run} at step {step}")
    assert process.poll() is None, shell.started_said


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: Path, digits: Path) -> bytes:
    """The exported weights of a run that nobody disturbed."""
    import shutil

    folder = tmp_path_factory.mktemp("undisturbed")
    shell = Shell(folder / "home", folder)
    shutil.copytree(tiny, shell.home / "stores" / "models" / "tiny")
    shutil.copytree(digits, folder / "digits")
    shell(*TRAIN, "--name", "calm")
    assert shown_state(shell, "calm") == "done"
    return (shell.run_folder("calm") / "export" / "model.safetensors").read_bytes()


def test_three_kills_change_no_bit_of_the_result(shell: Shell, undisturbed: bytes) -> None:
    first = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 13, first)
    assert shown_state(shell, "a") == "training"
    os.killpg(engine_of(shell, "a"), signal.SIGKILL)
    assert first.wait(60) == 1
    assert "killed by signal 9" in shell.started_said
    assert shown_state(shell, "a") == "interrupted"

    second = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 46, second, attempt=2)
    os.kill(supervisor_of(shell, "a"), signal.SIGKILL)
    assert second.wait(60) == 1
    assert shown_state(shell, "a") == "interrupted"

    third = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 85, third, attempt=3)
    os.kill(supervisor_of(shell, "a"), signal.SIGKILL)
    os.killpg(engine_of(shell, "a"), signal.SIGKILL)
    assert third.wait(60) == 1
    assert shown_state(shell, "a") == "interrupted"

    said = shell(*TRAIN, "--name", "a", "--json")
    assert said.data["run"]["state"] == "done"
    assert shown_state(shell, "a") == "done"
    resumed = [attempt["resumed_from_step"] for attempt in shell.record("a")["attempts"]]
    assert resumed[0] is None
    assert resumed[1:] == sorted(resumed[1:])
    assert resumed[1] >= 10 and resumed[2] >= 40 and resumed[3] >= 80

    assert [row["step"] for row in shell.metrics("a")] == list(range(1, STEPS + 1))
    assert {1, 4} <= {row["attempt"] for row in shell.metrics("a")} <= {1, 2, 3, 4}
    assert (shell.run_folder("a") / "export" / "model.safetensors").read_bytes() == undisturbed


def test_a_checkpoint_that_was_cut_off_is_set_aside_and_the_one_before_is_used(
    shell: Shell, undisturbed: bytes
) -> None:
    running = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 33, running)
    os.kill(supervisor_of(shell, "a"), signal.SIGKILL)
    running.wait(60)
    steps = sorted(int(path.parent.name[11:]) for path in shell.run_folder("a").glob("checkpoints/*/COMPLETE.json"))
    weights = shell.run_folder("a") / "checkpoints" / f"checkpoint-{steps[-1]}" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    shell("train", "--name", "a")

    assert shell.record("a")["attempts"][-1]["resumed_from_step"] == steps[-2]
    assert list((shell.run_folder("a") / "checkpoints-set-aside").iterdir())
    assert [row["step"] for row in shell.metrics("a")] == list(range(1, STEPS + 1))
    assert (shell.run_folder("a") / "export" / "model.safetensors").read_bytes() == undisturbed


def test_an_engine_whose_supervisor_was_killed_ends_by_itself(shell: Shell) -> None:
    running = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 5, running)
    engine = engine_of(shell, "a")
    os.kill(supervisor_of(shell, "a"), signal.SIGKILL)
    running.wait(60)

    def is_gone() -> bool:
        stat = Path(f"/proc/{engine}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_until(is_gone, "the engine's end", 15)


def test_two_at_once_on_one_name_is_an_error(shell: Shell) -> None:
    running = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 1, running)
    said = shell(*TRAIN, "--name", "a", "--json", code=2)
    assert "another process works on run 'a'" in said.json["error"]["message"]
    assert running.wait(120) == 0


def test_a_run_that_is_done_stays_as_it_is(shell: Shell) -> None:
    shell(*TRAIN, "--name", "a", "--set", "schedule.max_steps=2")
    before = (shell.run_folder("a") / "run.json").read_bytes()
    said = shell(*TRAIN, "--name", "a", "--set", "schedule.max_steps=2")
    assert "done already" in said.err
    assert (shell.run_folder("a") / "run.json").read_bytes() == before


def test_another_recipe_under_the_same_name_is_refused(shell: Shell) -> None:
    shell(*TRAIN, "--name", "a", "--set", "schedule.max_steps=2")
    said = shell(*TRAIN, "--name", "a", "--set", "optimizer.learning_rate=0.5", code=2)
    assert "optimizer.learning_rate" in said.err


def test_stop_saves_and_the_run_goes_on_later(shell: Shell, undisturbed: bytes) -> None:
    shell(*TRAIN, "--name", "a", "--detach")
    wait_until(lambda: step_of(shell, "a") >= 14, "step 14")
    said = shell("runs", "stop", "a", "--json")
    run = said.data["run"]
    assert run["state"] == "cancelled"
    shell("runs", "wait", "a", code=6)
    shell("train", "--name", "a")
    assert shell.record("a")["attempts"][-1]["resumed_from_step"] == run["step"]
    assert (shell.run_folder("a") / "export" / "model.safetensors").read_bytes() == undisturbed


def test_ctrl_c_saves_stops_and_exits_with_130(shell: Shell) -> None:
    running = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 7, running)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130, shell.started_said
    record = shell.record("a")
    assert record["state"] == "interrupted"
    assert (shell.run_folder("a") / "checkpoints" / f"checkpoint-{record['step']}" / "COMPLETE.json").is_file()


def test_a_closed_terminal_does_not_end_the_run(shell: Shell) -> None:
    running = shell.start(*TRAIN, "--name", "a")
    wait_until_trained_to(shell, "a", 2, running)
    running.kill()
    running.wait()
    shell("runs", "wait", "a")
    assert shell.record("a")["state"] == "done"


def test_a_run_past_its_time_limit_saves_and_goes_on_with_a_new_limit(shell: Shell) -> None:
    limited = (*TRAIN, "--name", "a", "--set", "schedule.max_steps=100000")
    shell(*limited, "--set", "limits.timeout_hours=0.0035", code=1)
    record = shell.record("a")
    assert record["state"] == "interrupted"
    assert "time or money" in record["attempts"][-1]["reason"]
    assert 0 < record["step"] < 100000
    said = shell(*limited, "--set", "limits.timeout_hours=0.0035", "--json", code=1)
    assert "limits of run 'a' are used up" in said.json["error"]["message"]
    assert "limits.timeout_hours" in said.json["error"]["hint"]


@pytest.mark.slow
def test_a_run_may_begin_at_a_checkpoint_of_another(shell: Shell) -> None:
    shell(*TRAIN, "--name", "a", "--set", "schedule.max_steps=20")
    shell(*TRAIN, "--name", "b", "--set", "schedule.max_steps=30", "--resume-from", "a/checkpoint-10")
    assert shell.record("b")["resumed_from"] == "/outputs/a/checkpoints/checkpoint-10"
    assert [row["step"] for row in shell.metrics("b")] == list(range(11, 31))
    said = shell(*TRAIN, "--name", "c", "--resume-from", "a/checkpoint-7", "--json", code=5)
    assert "checkpoint-10" in said.json["error"]["hint"]


@pytest.mark.slow
def test_a_run_may_go_back_to_an_earlier_checkpoint_of_its_own(shell: Shell) -> None:
    steps = ("--set", "schedule.max_steps=30")
    shell(*TRAIN, "--name", "a", *steps)
    weights = (shell.run_folder("a") / "export" / "model.safetensors").read_bytes()
    shell(*TRAIN, "--name", "a", *steps, "--resume-from", "checkpoint-10")
    assert shell.record("a")["attempts"][-1]["resumed_from_step"] == 10
    assert [row["step"] for row in shell.metrics("a")] == list(range(1, 31))
    assert (shell.run_folder("a") / "export" / "model.safetensors").read_bytes() == weights


def test_the_finished_model_is_also_put_into_the_output_folder(shell: Shell) -> None:
    shell(*TRAIN, "--name", "a", "--set", "schedule.max_steps=2", "--output-dir", "./my-model")
    copied, export = shell.cwd / "my-model", shell.run_folder("a") / "export"
    assert sorted(path.name for path in copied.iterdir()) == sorted(path.name for path in export.iterdir())
    said = shell(*TRAIN, "--name", "b", "--output-dir", "./my-model", code=2)
    assert "not empty" in said.err


def test_a_dry_run_plans_and_writes_nothing(shell: Shell) -> None:
    before = sorted(shell.home.rglob("*"))
    plan = shell(*TRAIN, "--name", "a", "--dry-run", "--json").data["plan"]
    assert plan["max_steps"] == STEPS
    assert plan["backend"] == "local"
    assert sorted(shell.home.rglob("*")) == before


def test_checkpoints_over_the_limit_are_removed_oldest_first(shell: Shell) -> None:
    shell(*TRAIN, "--name", "a", "--set", "checkpoint.save_total_limit=2")
    kept = sorted(path.name for path in (shell.run_folder("a") / "checkpoints").iterdir())
    assert kept == ["checkpoint-110", "checkpoint-120"]


@pytest.mark.slow
def test_the_recipe_of_a_run_repeats_it(shell: Shell, undisturbed: bytes) -> None:
    shell(*TRAIN, "--name", "a", "--set", "schedule.max_steps=4")
    shell("train", shell.run_folder("a") / "recipe.yaml", "--name", "b")
    first, second = (shell.run_folder(name) / "export" / "model.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert json.loads((shell.run_folder("b") / "plan.json").read_text())["max_steps"] == 4


def test_a_run_can_be_stopped_the_moment_it_was_started(shell: Shell) -> None:
    shell(*TRAIN, "--name", "a", "--detach")
    shell("runs", "stop", "a")
    record = shell.record("a")
    assert record["state"] in {"cancelled", "interrupted"}
    assert record["step"] < STEPS
    shell("train", "--name", "a")
    assert shell.record("a")["state"] == "done"
