"""What a user, an account or a network can do wrong: each is told with what mends it, and nothing is left running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from cloud.conftest import SHORT, Cloud
from conftest import wait_until

TRAIN = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--engine", "transformers")
QUEUED = {"on": "enqueue", "function": "train", "seconds": 600, "times": 99}
MAKE_AN_OLD_VOLUME = (
    "import modal; modal.Volume.from_name('paddleocr-vl-data', create_if_missing=True, version=1).hydrate()"
)


def running_apps(cloud: Cloud) -> list[str]:
    """Return the names of the apps that have yet to stop."""
    return [app["name"] for app in cloud.fake.describe()["apps"] if app["state"] != "APP_STATE_STOPPED"]


def image_of(cloud: Cloud) -> str:
    return str(next((cloud.shell.cwd / "digits" / "images").iterdir()))


@pytest.mark.parametrize(
    ("environment", "message", "hint"),
    [
        ({"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}, "no Modal token", "modal setup"),
        ({"MODAL_TOKEN_ID": "ak-other", "MODAL_TOKEN_SECRET": "as-other"}, "does not know the token", "modal setup"),
    ],
)
def test_a_missing_or_wrong_token_is_told(cloud: Cloud, environment: dict[str, str], message: str, hint: str) -> None:
    error = cloud(*TRAIN, "--json", code=4, **environment).json["error"]
    assert error["code"] == "not_permitted"
    assert message in error["message"]
    assert hint in error["hint"]


def test_a_server_that_cannot_be_reached_is_told_within_seconds(cloud: Cloud) -> None:
    began = time.monotonic()
    said = cloud("runs", "ls", code=1, MODAL_SERVER_URL="http://127.0.0.1:9")
    assert "Modal does not answer at http://127.0.0.1:9" in said.err
    # The client itself tries for most of a minute.
    assert time.monotonic() - began < 30


def test_an_environment_that_is_not_there_is_told_with_those_that_are(cloud: Cloud) -> None:
    said = cloud("runs", "ls", code=5, MODAL_ENVIRONMENT="elsewhere")
    assert "'elsewhere' not found" in said.err
    assert "modal environment list" in said.err


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("--gpu", "BANANA"), 2, "there is no GPU named 'BANANA'"),
        (("--gpu", "H100:9"), 2, "H100 comes in 1 to 8"),
        (("--set", "limits.timeout_hours=25"), 2, "--set limits.timeout_hours=24"),
        (("--set", "limits.max_retries=11"), 2, "limits.max_retries"),
        (("--set", "secrets=[nosuch]"), 5, "modal secret create nosuch"),
        (("--data", "/data/nothing/train.jsonl"), 5, "ocrvl volume ls /data"),
        (("--model", "/models/nothing"), 5, "ocrvl model ls"),
    ],
)
def test_what_modal_would_refuse_is_refused_before_anything_is_spent(
    cloud: Cloud, flags: tuple[str, ...], code: int, told: str
) -> None:
    said = cloud(*TRAIN, "--yes", *flags, code=code)
    assert told in said.err
    assert not cloud.fake.rpcs("AppCreate")
    assert not cloud.fake.rpcs("VolumePutFiles2")


def test_a_model_that_is_not_in_the_store_is_told_with_the_command_that_fetches_it(cloud: Cloud) -> None:
    said = cloud("infer", image_of(cloud), "--model", "1.6", code=5)
    assert "ocrvl download model paddleocr-vl-1.6" in said.err
    assert not cloud.fake.rpcs("AppCreate")


def test_a_volume_of_another_version_is_left_alone(cloud: Cloud) -> None:
    environment = {**cloud.shell.environment, **cloud.fake.env}
    subprocess.run([sys.executable, "-c", MAKE_AN_OLD_VOLUME], env=environment, check=True)
    error = cloud(*TRAIN, "--json", code=2).json["error"]
    assert "paddleocr-vl-data is of version 1" in error["message"]
    assert "modal volume rename paddleocr-vl-data" in error["hint"]
    stores = cloud("volume", "check", "--json", code=1).data["stores"]
    assert [store["ok"] for store in stores] == [False, True, True, True]


def test_an_image_that_cannot_be_built_shows_its_last_lines_and_leaves_nothing(cloud: Cloud) -> None:
    cloud("download", "model", "tiny")
    lines = [f"building {number}" for number in range(40)]
    cloud.fake.faults({"on": "image", "contains": "torch==2.13.0", "lines": lines, "message": "exit status 1"})
    error = cloud(*TRAIN, "--name", "unbuilt", "--json", code=1).json["error"]
    told, *shown = error["message"].splitlines()
    assert told == "the layer 'torch' of the image 'train-transformers' could not be built; its last lines:"
    assert shown == lines[-15:]
    assert error["hint"].startswith("modal image logs im-")
    assert running_apps(cloud) == []
    assert cloud("runs", "ls", "--json").data["runs"] == []


def test_a_container_that_cannot_import_ends_the_run_with_the_reason(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud(without=["ocrvl-modal", "peft", "pydantic"])
    error = cloud("download", "model", "tiny", "--json", code=1).json["error"]
    assert "No module named 'pydantic'" in error["message"]
    cloud("volume", "put", cloud.shell.home / "stores" / "models" / "tiny", "/models/tiny")
    cloud(*TRAIN, "--name", "unimportable", "--detach", *SHORT)
    run = cloud("runs", "wait", "unimportable", "--json", code=1).data["run"]
    assert (run["state"], run["alive"]) == ("interrupted", False)
    assert "No module named 'pydantic'" in run["reason"]
    assert f"modal app logs {run['attempts'][0]['app_id']}" in run["reason"]


def test_data_that_was_removed_since_is_told_by_its_name(cloud: Cloud) -> None:
    cloud("volume", "put", "digits", "/data/gone")
    cloud.fake.faults({**QUEUED, "seconds": 8})
    cloud.train("gone", *SHORT, data="/data/gone/train.jsonl")
    # Not by our own command, which on a slow machine takes longer than the call waits.
    shutil.rmtree(cloud.fake.volume("paddleocr-vl-data") / "gone")
    error = cloud("runs", "wait", "gone", "--json", code=1).data["run"]["error"]
    assert error["message"] == "/data/gone/train.jsonl is not there any more"
    assert "ocrvl train --name gone" in error["hint"]


@pytest.mark.parametrize("mode", [(), ("--json",)])
def test_ctrl_c_in_a_short_job_stops_it(cloud: Cloud, mode: tuple[str, ...]) -> None:
    cloud.fake.faults({"on": "enqueue", "function": "download", "seconds": 60})
    asked = cloud.start("download", "model", "tiny", *mode)
    wait_until(lambda: cloud.fake.events("call", function="download"), "the call")
    asked.send_signal(signal.SIGINT)
    assert asked.wait() == 130
    assert "Traceback" not in cloud.shell.started_said
    if mode:
        assert json.loads(cloud.shell.started_said)["error"]["code"] == "interrupted"
    wait_until(lambda: running_apps(cloud) == [], "the app to stop")


@pytest.mark.parametrize(
    "stage", ["spawn", *(pytest.param(other, marks=pytest.mark.slow) for other in ("app", "record", "note"))]
)
def test_ctrl_c_while_a_run_is_started_leaves_nothing_running_and_says_so(cloud: Cloud, stage: str) -> None:
    cloud("download", "model", "tiny")
    published = len(cloud.fake.rpcs("AppPublish"))
    delayed, begun = {
        "app": ({"rpc": "FunctionCreate"}, lambda: "ocrvl-early" in running_apps(cloud)),
        "record": ({"rpc": "VolumePutFiles"}, lambda: len(cloud.fake.rpcs("AppPublish")) > published),
        "spawn": ({"rpc": "FunctionMap"}, lambda: cloud.is_committed("early", "run.json")),
        "note": ({"rpc": "VolumePutFiles", "nth": 2}, lambda: cloud.fake.events("call", function="train")),
    }[stage]
    cloud.fake.faults(QUEUED, {"on": "rpc", "action": "delay", "seconds": 6, **delayed})
    starter = cloud.start(*TRAIN, "--name", "early", *SHORT)
    wait_until(begun, stage)
    time.sleep(0.5)
    starter.send_signal(signal.SIGINT)
    assert starter.wait() == 130
    assert "nothing of 'early' is left running" in cloud.shell.started_said
    assert "Traceback" not in cloud.shell.started_said
    wait_until(lambda: running_apps(cloud) == [], "the app to stop")
    cloud.fake.faults()
    assert not any(run["alive"] for run in cloud("runs", "ls", "--json").data["runs"])


def test_a_run_that_modal_does_not_speak_of_at_this_moment_is_not_taken_for_dead(cloud: Cloud) -> None:
    cloud.fake.faults(QUEUED)
    cloud.train("busy", *SHORT)
    cloud.fake.faults(
        QUEUED, {"on": "rpc", "rpc": "FunctionGetOutputs", "status": "RESOURCE_EXHAUSTED", "message": "no", "times": 99}
    )
    cloud("runs", "show", "busy", "--json", code=1)
    assert cloud("train", "--name", "busy", "--detach", "--yes", code=1).err.count("error: Modal") == 1
    cloud.fake.faults(QUEUED)
    assert cloud.run("busy")["alive"] is True


def test_a_call_whose_note_was_not_taken_goes_on(cloud: Cloud) -> None:
    cloud("download", "model", "tiny")
    cloud.fake.faults(
        QUEUED, {"on": "rpc", "rpc": "VolumePutFiles", "status": "RESOURCE_EXHAUSTED", "nth": 2, "times": 9}
    )
    started = cloud.train("unnoted", *SHORT).data["run"]
    assert (started["state"], started["alive"]) == ("submitted", True)
    cloud("runs", "stop", "unnoted")
    assert cloud.run("unnoted")["alive"] is False
    assert running_apps(cloud) == []


def test_a_call_that_modal_does_not_take_is_a_failed_start_and_its_app_stops(cloud: Cloud) -> None:
    cloud("download", "model", "tiny")
    cloud.fake.faults(
        QUEUED, {"on": "rpc", "rpc": "FunctionMap", "status": "UNAVAILABLE", "phase": "after", "times": 99}
    )
    cloud(*TRAIN, "--name", "refused", "--detach", *SHORT, code=1)
    run = cloud.run("refused")
    assert (run["state"], run["alive"]) == ("failed", False)
    assert "could not be started: Modal does not answer" in run["reason"]
    assert running_apps(cloud) == []


@pytest.mark.slow
def test_of_two_that_start_one_run_at_once_one_is_sent_away(cloud: Cloud) -> None:
    cloud("download", "model", "tiny")
    cloud("volume", "put", "digits", "/data/digits")
    # The first waits for its app, the third that it makes after those of the check and the image.
    cloud.fake.faults(QUEUED, {"on": "rpc", "rpc": "AppPublish", "action": "delay", "seconds": 8, "nth": 3})
    first = cloud.start(*TRAIN, "--data", "/data/digits/train.jsonl", "--name", "one", "--detach", *SHORT)
    wait_until(lambda: "ocrvl-one" in running_apps(cloud), "the first one's app")
    cloud.train("one", *SHORT, data="/data/digits/train.jsonl")
    assert first.wait() == 2
    assert "was started by another process" in cloud.shell.started_said
    assert len(cloud.fake.events("call", function="train")) == 1
    assert running_apps(cloud) == ["ocrvl-one"]


def test_a_token_that_is_revoked_ends_the_waiting_and_not_the_run(cloud: Cloud) -> None:
    cloud.fake.faults(QUEUED)
    cloud.train("watched", *SHORT)
    seen = len(cloud.fake.rpcs("FunctionGetOutputs"))
    waiting = cloud.start("runs", "wait", "watched", "--json")
    wait_until(lambda: len(cloud.fake.rpcs("FunctionGetOutputs")) > seen, "the first look")
    cloud.fake.faults(QUEUED, {"on": "rpc", "rpc": "FunctionGetOutputs", "status": "UNAUTHENTICATED", "times": 99})
    assert waiting.wait() == 4
    assert json.loads(cloud.shell.started_said)["error"]["code"] == "not_permitted"
    cloud.fake.faults(QUEUED)
    assert cloud.run("watched")["alive"] is True


def test_a_server_that_dies_while_a_run_is_followed_is_told_as_what_it_is(cloud: Cloud) -> None:
    cloud.fake.faults(QUEUED)
    cloud.train("followed", *SHORT)
    seen = len(cloud.fake.rpcs("FunctionGetOutputs"))
    following = cloud.start("runs", "logs", "-f", "followed")
    wait_until(lambda: len(cloud.fake.rpcs("FunctionGetOutputs")) > seen + 1, "the following")
    cloud.fake.__exit__(None, None, None)
    assert following.wait() == 1
    assert "Modal does not answer" in cloud.shell.started_said
    assert "disk" not in cloud.shell.started_said


def test_a_folder_that_is_put_by_force_takes_the_place_of_what_was_there(cloud: Cloud) -> None:
    folder = cloud.shell.cwd / "model"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "deep/c.txt"):
        (folder / name).write_text(name)
    cloud("volume", "put", "model", "/models/mine")
    (folder / "b.txt").unlink()
    (folder / "a.txt").write_text("changed")
    cloud("volume", "put", "model", "/models/mine", "--force")
    store = cloud.fake.volume("paddleocr-vl-models") / "mine"
    assert {str(path.relative_to(store)): path.read_text() for path in store.rglob("*") if path.is_file()} == {
        "a.txt": "changed",
        "deep/c.txt": "deep/c.txt",
    }


def test_a_folder_without_files_is_not_said_to_be_in_a_store(cloud: Cloud) -> None:
    (cloud.shell.cwd / "void" / "deeper").mkdir(parents=True)
    assert "void holds no file" in cloud("volume", "put", "void", "/data/void", code=2).err


@pytest.mark.parametrize("action", ["timeout", "oom", "crash"])
def test_a_short_job_that_dies_is_told_with_how(cloud: Cloud, action: str) -> None:
    cloud.fake.faults({"on": "input", "function": "download", "action": action, "times": 99})
    said: dict[str, Any] = cloud("download", "model", "tiny", "--json", code=1).json
    assert "the job 'download' died on Modal: " in said["error"]["message"]
    assert os.linesep not in said["error"]["hint"]
