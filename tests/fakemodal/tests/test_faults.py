"""Everything that can be made to fail, as the client sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakemodal import FakeModal
from fakemodal.faults import Faults
from fakemodal.tests.client import modal_cli, run, script

SQUARE = "result = name_of_error(lambda: modal.Function.from_name('sample', 'square').remote(2))"


def test_a_rule_fires_on_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    faults = Faults(path)
    assert faults.match("rpc", rpc="AppCreate", phase="before") is None
    path.write_text(json.dumps([{"on": "rpc", "rpc": "AppCreate", "nth": 2, "times": 2}]))
    fired = [faults.match("rpc", rpc="AppCreate", phase="before") is not None for _ in range(4)]
    assert fired == [False, True, True, False]
    assert faults.match("rpc", rpc="AppCreate", phase="after") is None
    path.write_text(json.dumps([{"on": "input", "function": "*"}]))
    assert faults.match("input", function="train") == {"on": "input", "function": "*"}


@pytest.mark.parametrize(
    ("action", "seen"),
    [
        ("fail", "RuntimeError"),
        ("oom", "RemoteError"),
        ("crash", "RemoteError"),
        ("timeout", "FunctionTimeoutError"),
        ("internal", 4),
    ],
)
def test_an_attempt_ends_as_it_is_told(shared: FakeModal, action: str, seen: str | int) -> None:
    shared.faults({"on": "input", "function": "square", "action": action})
    assert script(shared, SQUARE) == seen


def test_a_failed_attempt_is_retried_by_the_policy(shared: FakeModal) -> None:
    shared.faults({"on": "input", "function": "train", "action": "fail", "times": 2})
    assert script(shared, "result = modal.Function.from_name('sample', 'train').remote('a', steps=1)")["start"] == 0
    assert len(shared.events("retry", function="train")) == 2


def test_user_code_that_takes_too_long_is_killed(shared: FakeModal) -> None:
    slow = "result = name_of_error(modal.Function.from_name('sample', 'too_slow').remote)"
    assert script(shared, slow) == "FunctionTimeoutError"


def test_a_preempted_input_goes_on_from_what_was_committed(shared: FakeModal) -> None:
    shared.faults({"on": "input", "function": "train", "action": "preempt", "after": 1, "grace": 1})
    result = script(shared, "result = modal.Function.from_name('sample', 'train').remote('b', steps=12)")
    assert 1 <= result["start"] < 12
    ends = [event["reason"] for event in shared.events("container_exit", function="train")]
    assert ends.count("preempt") == 1
    attempts = [event for event in shared.events("attempt", function="train") if event["attempt"] == 2]
    assert attempts[-1]["retry_count"] == 0, "a preemption used up a retry"


def test_rpcs_fail_and_lose_their_replies(shared: FakeModal) -> None:
    before = len(shared.describe()["calls"])
    shared.faults(
        {"on": "rpc", "rpc": "FunctionMap", "times": 2}, {"on": "rpc", "rpc": "FunctionMap", "phase": "after"}
    )
    assert script(shared, SQUARE) == 4
    assert len(shared.describe()["calls"]) == before + 1, "a lost reply started a second call"
    shared.faults({"on": "rpc", "rpc": "FunctionMap", "times": 5})
    assert script(shared, SQUARE) == "ServiceError"


def test_inputs_and_outputs_wait(shared: FakeModal) -> None:
    shared.faults(
        {"on": "enqueue", "function": "square", "seconds": 1},
        {"on": "input", "function": "square", "action": "delay_output", "seconds": 1},
    )
    timed = "start = time.time(); modal.Function.from_name('sample', 'square').remote(2); result = time.time() - start"
    assert script(shared, timed) >= 2


def test_a_failed_image_build_shows_its_lines(cloud: FakeModal) -> None:
    lines = ["ERROR: no matching distribution", "the second line"]
    cloud.faults({"on": "image", "contains": "paddlepaddle-gpu", "message": "exit status 1", "lines": lines})
    shown = modal_cli(cloud, "deploy", "sample_app.py", check=False)
    assert shown.returncode != 0
    for line in (*lines, "exit status 1"):
        assert line in shown.stdout + shown.stderr
    cloud.faults({"on": "image", "contains": "paddlepaddle-gpu", "message": "exit status 1", "lines": lines})
    result = script(
        cloud,
        """
        import sample_app
        try:
            with sample_app.app.run():
                result = "started"
        except modal.exception.ImageBuildError as error:
            result = [str(error), [entry.message for entry in modal.Image.from_id(error.image_id).logs.fetch(layers=1)]]
        """,
    )
    assert "exit status 1" in result[0]
    assert [line + "\n" for line in lines] == result[1][-2:]


def test_a_container_that_cannot_import_is_restarted_once(cloud: FakeModal, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "import modal\napp = modal.App('bad')\nif not modal.is_local():\n    import nonexistent\n\n"
        "@app.function()\ndef f():\n    pass\n"
    )
    out = run(cloud, "-c", "import bad\nwith bad.app.run():\n    bad.f.remote()", cwd=tmp_path, check=False)
    assert "No module named 'nonexistent'" in out.stderr
    assert len(cloud.events("container_start")) == 2
    assert "Traceback" in cloud.logs()
    assert "import nonexistent" in cloud.logs()
