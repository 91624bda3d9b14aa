"""Checks in processes of their own: what one does badly is its own failure, and nobody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import wait_until
from doctor import samples
from ocrvl_modal.doctor.findings import Result
from ocrvl_modal.doctor.registry import Check
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.jobs.check_processes import run_checks
from ocrvl_modal.places import Places

TESTS = Path(__file__).parents[1]
SECRET = "sk-very-secret-0123"


def check(name: str, **options: Any) -> Check:
    return Check(name, f"doctor.samples:{name}", "a sample", **options)


def run(home: Path, *checks: Check, at_once: int = 4, **facts: Any) -> dict[str, Result]:
    subject = Subject(places=Places.under(home), **facts)
    environment = {**os.environ, "PYTHONPATH": str(TESTS), samples.SECRET_VARIABLE: SECRET}
    told: list[Result] = []
    results = run_checks(checks, subject, at_once=at_once, on_done=told.append, environment=environment)
    assert [result.check for result in results] == [each.name for each in checks], "in the order that was asked for"
    assert sorted(result.check for result in told) == sorted(each.name for each in checks), "each is told once"
    return {result.check: result for result in results}


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_one_that_hangs_is_killed_with_all_that_it_started_and_holds_nobody_up(tmp_path: Path) -> None:
    results = run(tmp_path, check("hangs", timeout_s=4), check("works"), check("says_no"))
    hung = results["hangs"]
    assert (hung.verdict, hung.reason) == ("fail", "it did not end within 4 seconds")
    assert hung.last_lines == ("waiting for the GPU",)
    assert hung.hint
    assert results["works"].verdict == "pass"
    assert results["says_no"].hint == "mend it"
    left_behind = int((tmp_path / "scratch" / "left-behind").read_text())
    assert not is_alive(left_behind)


def test_one_that_crashes_in_binary_code_fails_with_its_last_lines(tmp_path: Path) -> None:
    results = run(tmp_path, check("crashes"), check("works"))
    crashed = results["crashes"]
    assert crashed.verdict == "fail"
    assert "SIGSEGV" in crashed.reason
    assert "about to call binary code" in crashed.last_lines
    assert any("samples.py" in line for line in crashed.last_lines), "Python says where it was"
    assert results["works"].verdict == "pass"


def test_one_that_eats_memory_is_ended_before_the_machine_is_full(tmp_path: Path) -> None:
    eating = run(tmp_path, check("eats_memory", memory_gib=0.5))["eats_memory"]
    assert (eating.verdict, eating.reason) == ("fail", "it took more than 0.5 GiB of memory")


def test_what_libraries_print_is_kept_apart_from_the_finding(tmp_path: Path) -> None:
    noisy = run(tmp_path, check("is_noisy"))["is_noisy"]
    assert (noisy.verdict, noisy.reason, noisy.last_lines) == ("pass", "heard through the noise", ())


@pytest.mark.parametrize(
    ("name", "verdict", "reason", "hint"),
    [
        ("raises_for_the_user", "fail", "the thing is missing", "ocrvl get thing"),
        ("raises", "fail", "RuntimeError: a library broke", None),
        ("leaves", "fail", "SystemExit: 7", None),
        ("ends_without_a_word", "fail", "it ended with exit code 3, and without a word", None),
        ("has_nothing_to_say", "skip", "nothing to see", ""),
        ("crashes_at_its_exit", "pass", "all was well before", ""),
    ],
)
def test_every_way_to_end_is_a_result(tmp_path: Path, name: str, verdict: str, reason: str, hint: str | None) -> None:
    result = run(tmp_path, check(name))[name]
    assert (result.verdict, result.reason) == (verdict, reason)
    assert result.hint if hint is None else result.hint == hint


def test_a_traceback_is_among_the_last_lines_of_what_raised(tmp_path: Path) -> None:
    lines = run(tmp_path, check("raises"))["raises"].last_lines
    assert lines[0].startswith("Traceback")
    assert any("a library broke" in line for line in lines)


def test_a_check_that_is_not_there_fails_by_itself(tmp_path: Path) -> None:
    results = run(tmp_path, Check("lost", "doctor.samples:no_such_function", "a sample"), check("works"))
    assert results["lost"].verdict == "fail"
    assert "no_such_function" in results["lost"].reason
    assert results["works"].verdict == "pass"


def test_each_check_has_an_empty_folder_of_its_own_that_goes_with_it(tmp_path: Path) -> None:
    works = run(tmp_path, check("works"))["works"]
    assert works.evidence == {"place": "this machine", "is_empty": True}
    assert list((tmp_path / "scratch").iterdir()) == []


def test_no_secret_is_in_a_result(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "secret").write_text(SECRET)
    told = run(tmp_path, check("tells_secrets"))["tells_secrets"]
    assert SECRET not in told.model_dump_json()
    assert told.reason == "refused: [removed]"
    assert told.evidence["seen"] is None, "a check is not given secrets in the first place"
    assert told.last_lines == ("the key is [removed]",)


def test_so_many_run_at_once_and_no_more(tmp_path: Path) -> None:
    checks = [Check(f"turn-{number}", "doctor.samples:takes_turns", "a sample") for number in range(4)]
    beside = [result.evidence["beside"] for result in run(tmp_path, *checks, at_once=2).values()]
    assert max(beside) == 2


def test_checks_on_gpus_run_one_after_another(tmp_path: Path) -> None:
    checks = [Check(f"turn-{number}", "doctor.samples:takes_turns", "a sample", gpus=1) for number in range(3)]
    beside = [result.evidence["beside"] for result in run(tmp_path, *checks, gpus=("A GPU",)).values()]
    assert beside == [1, 1, 1]


def test_a_check_whose_library_is_missing_is_not_even_started(tmp_path: Path) -> None:
    result = run(tmp_path, check("says_no", engine="vllm", needs=("no_such_library",)))["says_no"]
    assert (result.verdict, result.reason, result.seconds) == ("skip", "vLLM is not installed here", 0.0)


def test_what_a_killed_doctor_left_is_removed_when_no_other_can_be_at_work_in_it(tmp_path: Path) -> None:
    old, new, other = (tmp_path / "scratch" / name for name in ("doctor-config-old", "doctor-config-new", "call-old"))
    for folder in (old, new, other):
        folder.mkdir(parents=True)
    for folder in (old, other):
        os.utime(folder, (0, 0))
    run(tmp_path, check("works"))
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_a_scratch_folder_that_cannot_be_made_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "scratch").write_text("a file in the way")
    works = run(tmp_path, check("works"))["works"]
    assert (works.verdict, "scratch" in works.reason) == ("fail", True)


RUN = """
import os, sys
from pathlib import Path
from doctor.test_check_processes import check, run
run(Path(sys.argv[1]), check("hangs", timeout_s=300))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_check_outlives_the_job_that_runs_it(tmp_path: Path, number: signal.Signals) -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    marker = tmp_path / "scratch" / "left-behind"
    wait_until(lambda: marker.is_file() and marker.read_text(), "the check to start")
    checks = [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if f"{tmp_path}/scratch/doctor-hangs".encode() in _command_line(entry)
    ]
    assert checks
    job.send_signal(number)
    job.wait(timeout=60)
    wait_until(lambda: not any(map(is_alive, checks)), "the check to end")
    if number == signal.SIGINT:
        assert not is_alive(int(marker.read_text()))
    else:
        os.kill(int(marker.read_text()), signal.SIGKILL)


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
