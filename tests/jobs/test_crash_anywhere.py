"""Dying at any point, the next start finishes the run as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.crash_harness import DIED
from jobs.standin import STEPS, learned_after

HARNESS = Path(__file__).with_name("crash_harness.py")
SHARES = 4


def deaths(folder: Path, *arguments: int) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(HARNESS), str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_as_if_nothing_had_happened(death: dict[str, Any]) -> None:
    assert death["codes"][-1] == 0
    assert (death["state"], death["step"], death["error"]) == ("done", STEPS, None)
    assert death["steps"] == list(range(1, STEPS + 1))
    assert death["evaluated"] == [3, 6]
    assert death["learned"] == learned_after(STEPS)
    assert death["ends"][-1] == "done"
    assert set(death["ends"][:-1]) <= {"interrupted"}
    assert (death["leftovers"], death["reserve"], death["engine"]) == ([], False, False)


@pytest.mark.parametrize("share", range(SHARES))
def test_a_run_that_dies_at_any_change_on_disk_is_finished_by_the_next_start(tmp_path: Path, share: int) -> None:
    found = deaths(tmp_path, 1 + share, SHARES)
    for death in found:
        assert_as_if_nothing_had_happened(death)
        # Before its record there is no run; after that it is shown as what it is, never as at work.
        assert death["shown"] in {None, "interrupted", "done"}
    assert len(found) * SHARES > 50
    assert {death["codes"][0] for death in found[:-1]} == {DIED}
    assert {"interrupted"} < {death["shown"] for death in found}


@pytest.mark.parametrize("second", [12, 40, 75])
def test_a_run_that_dies_twice_is_finished_by_the_third_start(tmp_path: Path, second: int) -> None:
    found = deaths(tmp_path, 30, 13, second)
    for death in found:
        assert_as_if_nothing_had_happened(death)
    twice = [death for death in found if death["codes"] == [DIED, DIED, 0]]
    assert len(twice) > 2
    assert all(len(death["ends"]) > 1 for death in twice)
