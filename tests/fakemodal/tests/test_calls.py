"""Calls that outlive their client, or do not; how they are read, followed, ordered and cancelled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest

from conftest import wait_until
from fakemodal import FakeModal
from fakemodal.tests.client import HERE, SECRETS, environment, modal_cli, script

SPAWN = """
import sample_app
with sample_app.app.run(detach={detach}):
    result = [sample_app.train.spawn("{name}", steps={steps}).object_id, sample_app.app.app_id]
"""


def test_another_process_reads_a_detached_call(cloud: FakeModal) -> None:
    call, app = script(cloud, SPAWN.format(name="m", detach=True, steps=8))
    result = script(
        cloud,
        f"""
        call = modal.FunctionCall.from_id("{call}")
        result = {{
            "value": call.get(timeout=60),
            "graph": [each.status.name for each in call.get_call_graph()],
            "call": [entry.message for entry in call.logs.tail(50)],
            "app": [entry.message for entry in modal.App.lookup("{app}").logs.tail(50)],
        }}
        """,
    )
    assert result["value"] == {"start": 0, "samples": [], "file": "/root/sample_app.py"}
    assert result["graph"] == ["SUCCESS"]
    assert result["call"][-1] == result["app"][-1] == "step 8/8\n"
    for said in ("H100:1", "'FROM_IMAGE': 'yes'", "'FROM_FUNCTION': 'too'", "hf_secret"):
        assert said in result["call"][0]
    wait_until(lambda: (cloud.volume("models") / "m/weights.bin").exists(), "the last commit, as the container ends")
    assert "step 8/8" in modal_cli(cloud, "app", "logs", app).stdout


def test_a_call_that_goes_on_is_waited_for_no_longer_than_was_asked(shared: FakeModal) -> None:
    call, _ = script(shared, SPAWN.format(name="unhurried", detach=True, steps=500))
    result = script(
        shared,
        f"""
        call = modal.FunctionCall.from_id("{call}")
        result = name_of_error(lambda: call.get(timeout=0))
        call.cancel()
        """,
    )
    assert result == "TimeoutError"


def test_a_call_dies_with_its_app_unless_detached(shared: FakeModal) -> None:
    call, _ = script(shared, SPAWN.format(name="endless", detach=False, steps=500))
    assert script(shared, f"result = name_of_error(modal.FunctionCall.from_id('{call}').get)") == "RemoteError"


@pytest.mark.parametrize(("detach", "end"), [(True, "SUCCESS"), (False, "TERMINATED")])
def test_a_detached_call_survives_the_death_of_its_client(
    detach: bool, end: str, start_fake_modal: Callable[..., FakeModal]
) -> None:
    cloud = start_fake_modal(secrets=SECRETS, heartbeat_timeout=1)
    code = (
        SPAWN.format(name="m", detach=detach, steps=12)
        + "    print(result[0], flush=True)\n    import time; time.sleep(99)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=HERE, env=environment(cloud), stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout
        call = client.stdout.readline().strip()
        client.kill()

    def results() -> list[str | None]:
        calls = [each for each in cloud.describe()["calls"] if each["id"] == call]
        return [each["result"] for each in calls[0]["inputs"]]

    wait_until(lambda: results()[0], "the call ends")
    assert results() == [f"GENERIC_STATUS_{end}"]


def test_a_cancelled_call_is_told_so(shared: FakeModal) -> None:
    call = script(shared, "result = modal.Function.from_name('sample', 'sleepy').spawn(50).object_id")
    wait_until(lambda: "sleeping" in shared.logs(), "the call runs")
    cancel = f"call = modal.FunctionCall.from_id('{call}'); call.cancel(); result = name_of_error(call.get)"
    assert script(shared, cancel) == "RemoteError"
    assert "interrupted by InputCancellation" in shared.logs()


def test_the_number_of_containers_is_kept(shared: FakeModal) -> None:
    result = script(
        shared,
        """
        alone = modal.Function.from_name("sample", "alone")
        name = modal.Function.from_name("sample", "container_name")
        result = [list(alone.map([0.3] * 3)), list(name.map(range(0), return_exceptions=True))]
        calls = [name.spawn() for _ in range(2)]
        result[1] = [call.get() for call in calls]
        """,
    )
    spans = sorted(result[0])
    assert all(ends <= starts for (_, ends), (starts, _) in pairwise(spans)), "they overlap"
    assert len({event["task"] for event in shared.events("attempt", function="alone")}) == 1
    assert len(set(result[1])) == 2, "a single-use container took two inputs"


def test_logs_are_followed(shared: FakeModal) -> None:
    command = [sys.executable, "-m", "modal", "app", "logs", "sample", "-f"]
    with subprocess.Popen(command, env=environment(shared), stdout=subprocess.PIPE, text=True) as follower:
        lines = script(
            shared,
            """
            train = modal.Function.from_name("sample", "train").with_options(gpu="A100-80GB:2")
            call = train.spawn("v", steps=1)
            result = [entry.message for entry in call.logs.stream(timeout=30)]
            """,
        )
        assert follower.stdout
        followed = iter(follower.stdout.readline, "")
        assert any("step 1/1" in line for line in followed)
        follower.terminate()
    assert "A100-80GB:2" in lines[0]
    assert "step 1/1\n" in lines
