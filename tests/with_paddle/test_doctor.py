"""The doctor against a real PaddleFormers, which trains on this machine's CPU."""

from __future__ import annotations

import os
from pathlib import Path

from conftest import Shell
from ocrvl_modal.doctor.collective import add_up
from ocrvl_modal.doctor.findings import Result
from ocrvl_modal.doctor.registry import CHECKS, Check
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.jobs.check_processes import run_checks
from ocrvl_modal.places import Places

HERE = ("python", "packages", "deps", "paddle", "paddleformers-import", "paddleformers-cmd", "config", "prompt")
TESTS = Path(__file__).parents[1]


def result_of(check: Check, home: Path) -> Result:
    subject = Subject(places=Places.under(home), name="train-paddleformers", engine="paddleformers")
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    (result,) = run_checks([check], subject, at_once=1, on_done=lambda _: None, environment=environment)
    return result


def test_all_that_is_installed_passes_and_what_is_not_is_skipped(shell: Shell) -> None:
    said = shell("doctor", "--json")
    checks = {check["check"]: check for check in said.data["checks"]}
    assert {name: checks[name]["verdict"] for name in HERE} == dict.fromkeys(HERE, "pass")
    assert checks["paddle"]["evidence"]["version"].startswith("3.")
    assert checks["paddleformers-import"]["evidence"]["paddleformers"] == "1.2.0"
    assert checks["paddleformers-cmd"]["evidence"]["options"] > 100
    assert set(checks["config"]["evidence"]) == {"transformers", "paddleformers"}
    assert said.data["failed"] == 0
    assert {checks[name]["verdict"] for name in ("ernie-import", "vllm-import", "paddle-gpu")} == {"skip"}


def test_a_key_that_paddleformers_does_not_know_is_found(tmp_path: Path) -> None:
    found = result_of(Check("config", "with_paddle.doctor_samples:config_of_tomorrow", "a sample", 120), tmp_path)
    assert found.verdict == "fail"
    assert "key_of_tomorrow" in found.reason


def test_a_running_training_keeps_its_shared_memory(tmp_path: Path) -> None:
    """PaddleFormers removes what others share under its name when it reads a configuration; the doctor must not."""
    shared = Path("/dev/shm") / f"paddle_of_another_run_{os.getpid()}"
    shared.write_bytes(b"a batch")
    try:
        assert result_of(CHECKS["config"], tmp_path).verdict == "pass"
        assert result_of(CHECKS["paddleformers-cmd"], tmp_path).verdict == "pass"
        assert shared.exists()
    finally:
        shared.unlink(missing_ok=True)


def test_an_image_with_a_paddle_for_cpus_fails(tmp_path: Path) -> None:
    found = result_of(CHECKS["paddle"], tmp_path)
    assert (found.verdict, "built for CPUs" in found.reason) == ("fail", True)


def test_plain_attention_is_that_of_paddle_itself(tmp_path: Path) -> None:
    found = result_of(Check("attention", "with_paddle.doctor_samples:attention", "a sample", 120), tmp_path)
    assert found.evidence["difference"] < 1e-5


def test_processes_add_up_their_numbers_with_paddle(tmp_path: Path) -> None:
    told = add_up("paddle", 2, "cpu", tmp_path)
    assert told.problem == ""
    assert told.gb_per_s
