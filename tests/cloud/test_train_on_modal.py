"""The main job through the real Modal client: the command unchanged, training in Modal's own container entrypoint."""

from __future__ import annotations

import json
import os

import pytest

from cloud.conftest import LONG, SHORT, Cloud
from conftest import wait_until
from fakemodal import decode_args


def test_a_detached_run_is_followed_and_read_from_a_machine_that_has_only_the_token(cloud: Cloud) -> None:
    started = cloud.train("first", *SHORT)
    assert started.data["run"]["state"] in {"submitted", "preparing", "training"}

    other = cloud.elsewhere()
    log = other("runs", "logs", "-f", "first")
    assert "global_step: 24" in log.out
    assert other("runs", "wait", "first", "--json").data["run"]["state"] == "done"
    assert [run["name"] for run in other("runs", "ls", "--json").data["runs"]] == ["first"]
    shown = other("runs", "show", "first", "--json").data
    assert (shown["run"]["state"], shown["run"]["step"]) == ("done", 24)
    assert shown["last_metrics"]["step"] == 24
    assert cloud.steps("first") == list(range(1, 25))

    image = next((cloud.shell.cwd / "digits" / "images").iterdir())
    read = other("infer", image, "--run", "first", "--json", "--max-new-tokens", "8")
    assert read.data["items"][0]["error"] is None
    (call,) = [event for event in cloud.fake.events("call") if event["function"] == "infer"]
    assert call
    scores = cloud("eval", "first", "--json", "--limit", "4")
    assert scores.data["samples"] == 4

    other("volume", "get", "/outputs/first/export", "export")
    assert (other.shell.cwd / "export" / "model.safetensors").stat().st_size > 1_000_000
    listed = other("volume", "ls", "/outputs/first", "--json").data["entries"]
    assert "/outputs/first/export" in {entry["place"] for entry in listed}


def test_the_function_is_what_the_recipe_says(cloud: Cloud) -> None:
    cloud.fake.faults({"on": "enqueue", "function": "train", "seconds": 60})
    cloud.train(
        "big",
        "--gpu",
        "A100-80GB:2",
        "--yes",
        *("--set", "hardware.cpu=6", "--set", "hardware.memory_gib=20", "--set", "limits.timeout_hours=2"),
        *SHORT,
    )
    definition = cloud.fake.function("train")
    assert definition["resources"]["gpu_config"] == {"count": 2, "gpu_type": "A100-80GB"}
    assert definition["resources"]["milli_cpu"] == 6000
    assert definition["resources"]["memory_mb"] == 20 * 1024
    assert definition["timeout_secs"] == 2 * 3600 + 900
    assert definition["startup_timeout_secs"] == 1800
    assert definition["retry_policy"]["retries"] == 10
    assert definition["retry_policy"].get("initial_delay_ms", 0) == 0
    assert definition["single_use_containers"] or definition["max_inputs"] == 1
    assert [mount["mount_path"] for mount in definition["volume_mounts"]] == ["/data", "/models", "/outputs"]
    assert "/root/ocrvl_modal/jobs/train.py" in cloud.fake.mounted_files("train")
    (app,) = [app for app in cloud.fake.describe()["apps"] if app["name"] == "ocrvl-big"]
    assert app["tags"]["ocrvl-run"] == "big"
    cloud("runs", "stop", "big", "--json")
    assert cloud.run("big")["state"] == "cancelled"


def test_data_that_is_in_the_store_is_used_there_and_does_not_travel(cloud: Cloud) -> None:
    cloud("volume", "put", "./digits", "/data/digits")
    before = len(cloud.uploads())
    cloud.train("there", *SHORT, data="/data/digits/train.jsonl")
    assert len(cloud.uploads()) == before
    assert cloud("runs", "wait", "there", "--json").data["run"]["dataset"] == "/data/digits/train.jsonl"


def test_a_dataset_that_was_uploaded_once_is_not_uploaded_again(cloud: Cloud) -> None:
    cloud.fake.faults({"on": "enqueue", "function": "train", "seconds": 60, "times": 9})
    cloud.train("one", *SHORT)
    uploads = len(cloud.uploads())
    datasets = list((cloud.fake.volume("paddleocr-vl-data") / "datasets" / "digits").iterdir())
    for path in (path for dataset in datasets for path in dataset.rglob("*")):
        os.utime(path, (0, 0))
    cloud.train("two", *SHORT)
    assert len(cloud.uploads()) == uploads
    assert cloud.run("one")["dataset"] == cloud.run("two")["dataset"]
    # Whoever collects garbage sees that they are in use, before any recipe says so.
    assert all(any(path.is_file() and path.stat().st_mtime for path in each.rglob("*")) for each in datasets)


@pytest.mark.slow
def test_a_second_run_leaves_the_app_of_the_first_alone(cloud: Cloud) -> None:
    cloud.train("one", *LONG)
    cloud.wait_for_checkpoint("one")
    cloud.train("two", *SHORT)
    cloud("runs", "wait", "two")
    assert cloud.run("one")["state"] == "training"
    cloud("runs", "stop", "one")


@pytest.mark.slow
def test_stop_saves_first_and_the_run_goes_on_from_there(cloud: Cloud) -> None:
    cloud.train("long", *LONG)
    cloud.wait_for_checkpoint("long")
    stopped = cloud.elsewhere()("runs", "stop", "long", "--json").data["run"]
    assert stopped["state"] == "cancelled"
    folder = cloud.committed("long")
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "cancelled"
    saved = max(int(path.parent.name.split("-")[1]) for path in folder.glob("checkpoints/*/COMPLETE.json"))
    assert saved == record["step"]
    assert cloud.steps("long") == list(range(1, saved + 1))

    cloud("train", "--name", "long", "--detach", "--yes", "--json")
    wait_until(lambda: cloud.run("long")["step"] > saved, "a step after the resume")
    assert cloud.run("long")["attempts"][-1]["resumed_from_step"] == saved
    cloud("runs", "stop", "long")


@pytest.mark.slow
def test_a_run_that_is_at_work_is_not_started_twice(cloud: Cloud) -> None:
    cloud.train("busy", *LONG)
    said = cloud("train", "--name", "busy", "--detach", "--yes", code=2)
    assert "works on run 'busy'" in said.err
    assert "ocrvl runs wait busy" in said.err
    refused = cloud("volume", "rm", "/outputs/busy", "--yes", code=2)
    assert "ocrvl runs stop busy" in refused.err
    cloud("runs", "stop", "busy")


def test_what_travels_to_read_an_image_is_the_image(cloud: Cloud) -> None:
    cloud("download", "model", "tiny")
    image = next((cloud.shell.cwd / "digits" / "images").iterdir())
    cloud("infer", image, "--model", "tiny", "--max-new-tokens", "4")
    sent = [
        decode_args(item["input"])
        for call in cloud.fake.rpcs("FunctionMap")
        for item in call["req"].get("pipelined_inputs", [])
    ]
    ((job, request), _) = sent[-1]
    assert job == "infer"
    assert request["images"][0]["name"].endswith(image.name)
    assert "path" not in request["images"][0]
    assert not cloud.uploads()
