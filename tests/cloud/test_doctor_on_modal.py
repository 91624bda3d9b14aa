"""The doctor in containers. They have this machine's packages and no GPU, so what it says of both must be honest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud.conftest import Cloud
from ocrvl_modal.doctor.registry import ENVIRONMENTS


def told(data: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in data["checks"] if check["place"] == place}


def test_an_image_is_examined_in_a_container_without_a_gpu(cloud: Cloud) -> None:
    said = cloud("doctor", "--remote", "--json", code=None)
    machine = told(said.data, "this machine")
    assert {"python", "settings", "token", "stores", "disk"} <= set(machine)
    assert {machine[name]["verdict"] for name in ("token", "stores")} == {"pass"}

    image = told(said.data, "train-paddleformers")
    assert tuple(image) == ENVIRONMENTS["train-paddleformers"].checks
    # Containers have this machine's Python and packages, which are not those of the image.
    assert image["python"]["evidence"]["version"]
    assert "is pinned" in image["deps"]["reason"]
    assert image["paddleformers-import"]["verdict"] == "fail"
    assert image["prompt"]["verdict"] == image["disk-speed"]["verdict"] == "pass"
    for name in ("cuda", "paddle-gpu", "bf16", "flash-attention", "nccl"):
        assert (image[name]["verdict"], image[name]["reason"]) == ("skip", "no GPU in this container")
    assert image["cuda"]["hint"] == "--gpu L4 rents one"
    assert said.code == 1
    assert said.data["failed"] == sum(check["verdict"] == "fail" for check in said.data["checks"])

    definition = cloud.fake.function("doctor")
    assert not definition["resources"]["gpu_config"], "no GPU is rented without a word"
    assert "paddleformers==1.2.0" in "\n".join(cloud.fake.image_commands(definition["image_id"]))


def test_a_gpu_that_is_rented_and_not_there_is_a_failure_and_no_pass(cloud: Cloud) -> None:
    options = ("doctor", "cuda", "bf16", "--image", "train-transformers", "--json")
    refused = cloud(*options, "--gpu", "L4", code=2)
    assert "Rent L4 on Modal at $0.80 an hour" in refused.json["error"]["message"]
    assert cloud.fake.events("container_start") == []

    image = told(cloud(*options, "--gpu", "L4", "--yes", code=1).data, "train-transformers")
    assert {check["verdict"] for check in image.values()} == {"fail"}
    assert cloud.fake.function("doctor")["resources"]["gpu_config"] == {"count": 1, "gpu_type": "L4"}
    assert image["cuda"]["reason"] == "L4 was rented, and this container shows no GPU"


def test_an_image_that_cannot_be_built_does_not_hide_another(cloud: Cloud) -> None:
    cloud.fake.faults({"on": "image", "contains": "torch==", "message": "no room", "lines": ["Collecting torch"]})
    said = cloud("doctor", "python", "prompt", "--image", "train-transformers", "--image", "light", "--json", code=1)
    broken, light = told(said.data, "train-transformers"), told(said.data, "light")
    assert list(broken) == ["start"]
    assert broken["start"]["verdict"] == "fail"
    assert "could not be built" in broken["start"]["reason"]
    assert light["prompt"]["verdict"] == "pass"


def test_a_container_that_dies_is_a_result(cloud: Cloud) -> None:
    cloud.fake.faults({"on": "input", "function": "doctor", "action": "oom"})
    said = cloud("doctor", "prompt", "--image", "light", "--json", code=1)
    assert list(told(said.data, "light")) == ["start"]
    assert "died on Modal" in told(said.data, "light")["start"]["reason"]


def test_models_in_the_store_are_examined_where_they_lie(cloud: Cloud, tiny: Path) -> None:
    shutil.copytree(tiny, cloud.shell.cwd / "broken")
    (cloud.shell.cwd / "broken" / "model.safetensors").write_bytes(b"nothing like weights")
    cloud("volume", "put", "broken", "/models/broken")
    image = told(cloud("image", "check", "light", "model-files", "--json", code=1).data, "light")
    assert image["model-files"]["reason"].startswith("broken: model.safetensors is not a safetensors file")


def test_an_image_alone_is_examined_by_its_name(cloud: Cloud) -> None:
    said = cloud("image", "check", "light", "--quick", "--json", code=None)
    assert {check["place"] for check in said.data["checks"]} == {"light"}
    assert tuple(told(said.data, "light")) == ENVIRONMENTS["light"].essential
    assert "there is no check named 'token'" in cloud("image", "check", "light", "token", code=2).err


def test_nothing_of_the_token_is_in_what_is_told(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud()
    secret = cloud.fake.env["MODAL_TOKEN_SECRET"]
    said = cloud(
        "doctor", "token", "settings", "python", "--image", "light", "--json", code=None, HF_TOKEN="hf_hidden1"
    )
    assert secret not in said.out + said.err
    assert "hf_hidden1" not in said.out + json.dumps(cloud.fake.rpcs()) + cloud.fake.logs()
