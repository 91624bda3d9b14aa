"""Deaths of every kind: each run ends in the right state, and no step before its last complete checkpoint is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from cloud.conftest import LONG, SHORT, Cloud
from conftest import wait_until

MIDDLE = ("--set", "schedule.max_steps=240", "--set", "checkpoint.save_steps=10")


@pytest.mark.parametrize(
    "action",
    ["preempt", *(pytest.param(rarer, marks=pytest.mark.slow) for rarer in ("crash", "oom", "internal", "timeout"))],
)
def test_a_run_whose_container_dies_goes_on_by_itself_from_its_last_checkpoint(cloud: Cloud, action: str) -> None:
    cloud.train("hurt", *MIDDLE)
    cloud.wait_for_checkpoint("hurt")
    cloud.fake.faults({"on": "running", "function": "train", "action": action, "grace": 25})
    run = cloud("runs", "wait", "hurt", "--json").data["run"]
    first, second = run["attempts"]
    assert first["ended_as"] == "interrupted"
    assert second["ended_as"] == "done"
    assert second["resumed_from_step"] > 0
    assert second["resumed_from_step"] % 10 == 0 or action == "preempt"
    assert cloud.steps("hurt") == list(range(1, 241))
    assert run["cost"]["seconds"] > 0
    if action == "preempt":
        assert first["reason"] == "it was interrupted"
    else:
        assert first["reason"].startswith("its process died")


@pytest.mark.slow
def test_a_run_that_dies_at_one_place_again_and_again_is_given_up(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud(retry_delay_scale=0.1)
    cloud.fake.faults({"on": "input", "function": "train", "action": "oom", "after": 3, "times": 99})
    cloud.train("hungry", "--set", "schedule.max_steps=5000", "--set", "checkpoint.save_steps=4000")
    run = cloud("runs", "wait", "hungry", "--json", code=1).data["run"]
    assert run["state"] == "failed"
    assert "3 attempts in a row died" in run["reason"]
    assert "hardware.memory_gib" in run["error"]["hint"]
    assert len(run["attempts"]) == 4


@pytest.mark.slow
def test_a_run_that_has_used_up_its_retries_is_shown_as_interrupted_and_goes_on_when_started(cloud: Cloud) -> None:
    cloud.train("poor", *MIDDLE, "--set", "limits.max_retries=0")
    cloud.wait_for_checkpoint("poor")
    cloud.fake.faults({"on": "running", "function": "train", "action": "oom"})
    view = cloud("runs", "wait", "poor", "--json", code=1).data["run"]
    assert (view["state"], view["alive"]) == ("interrupted", False)
    assert "memory" in view["reason"]
    assert cloud.elsewhere().run("poor")["state"] == "interrupted"
    cloud("train", "--name", "poor", "--detach", "--yes")
    again = cloud("runs", "wait", "poor", "--json").data["run"]
    assert again["attempts"][1]["resumed_from_step"] > 0
    assert cloud.steps("poor") == list(range(1, 241))


@pytest.mark.slow
def test_a_call_that_was_sent_twice_since_its_answer_was_lost_trains_once(cloud: Cloud) -> None:
    cloud.fake.faults({"on": "rpc", "rpc": "FunctionMap", "phase": "after", "status": "UNAVAILABLE", "nth": 2})
    cloud("download", "model", "tiny")
    cloud.train("twice", *SHORT)
    assert cloud("runs", "wait", "twice", "--json").data["run"]["state"] == "done"
    sent = [rpc for rpc in cloud.fake.rpcs("FunctionMap") if rpc["req"].get("function_call_invocation_type")]
    assert len(sent) >= 2
    assert [attempt["number"] for attempt in cloud.run("twice")["attempts"]] == [1]
    assert cloud.steps("twice") == list(range(1, 25))


@pytest.mark.slow
def test_a_run_goes_on_when_the_machine_that_follows_it_dies(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud(heartbeat_timeout=20)
    arguments = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--name", "orphan", *MIDDLE)
    follower = cloud.start(*arguments)
    cloud.wait_for_checkpoint("orphan")
    follower.send_signal(signal.SIGKILL)
    follower.wait()
    assert cloud.elsewhere()("runs", "wait", "orphan", "--json").data["run"]["state"] == "done"
    assert [attempt["number"] for attempt in cloud.run("orphan")["attempts"]] == [1]


@pytest.mark.slow
def test_ctrl_c_while_following_leaves_the_run_alone_and_says_how_to_stop_it(cloud: Cloud) -> None:
    follower = cloud.start("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--name", "alone", *LONG)
    cloud.wait_for_checkpoint("alone")
    follower.send_signal(signal.SIGINT)
    assert follower.wait() == 130
    assert "ocrvl runs stop alone" in cloud.shell.started_said
    assert "Traceback" not in cloud.shell.started_said
    assert cloud.run("alone")["state"] == "training"
    cloud("runs", "stop", "alone")


@pytest.mark.slow
def test_a_start_that_was_cut_off_before_its_call_can_be_made_again(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud(heartbeat_timeout=20)
    cloud("download", "model", "tiny")
    cloud.fake.faults({"on": "rpc", "rpc": "FunctionMap", "action": "delay", "seconds": 30})
    starter = cloud.start("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--name", "cut", *SHORT)
    wait_until(lambda: cloud.is_committed("cut", "run.json"), "the record of the run")
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    cloud.fake.faults()
    wait_until(lambda: cloud.run("cut")["state"] == "interrupted", "the run to be seen as dead")
    assert "cut off" in cloud.run("cut")["reason"]
    cloud.train("cut", *SHORT)
    assert cloud("runs", "wait", "cut", "--json").data["run"]["state"] == "done"


@pytest.mark.slow
def test_a_commit_that_fails_does_not_stop_the_training(cloud: Cloud) -> None:
    cloud("download", "model", "tiny")
    cloud.fake.faults({"on": "rpc", "rpc": "VolumeCommit", "status": "FAILED_PRECONDITION", "nth": 3, "times": 2})
    cloud.train("stubborn", *SHORT)
    assert cloud("runs", "wait", "stubborn", "--json").data["run"]["state"] == "done"
    assert "was not committed" in cloud.fake.logs()
