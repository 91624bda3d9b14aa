"""Images through the real Modal client: what is built, what is not built again, and where the wheel comes from."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import ocrvl_modal
from cloud.conftest import Cloud
from conftest import OCRVL
from ocrvl_modal.image import IMAGES
from ocrvl_modal.pins import FRAMEWORK_WHEELS, IMAGE_BUILDER
from ocrvl_modal.wheels.manifest import Entry, now, record

ERNIEKIT = "train-erniekit"
WANTED = FRAMEWORK_WHEELS[ERNIEKIT]


def image_events(cloud: Cloud) -> list[dict[str, Any]]:
    return cloud.fake.events("image")


def commands(events: list[dict[str, Any]]) -> str:
    return "\n".join(command for event in events for command in event["commands"])


def layers_from(image: str, name: str) -> list[str]:
    names = [layer.name for layer in IMAGES[image].layers]
    return [*names[names.index(name) :], *(["variables"] if IMAGES[image].variables else []), "proof"]


def make_wheel(folder: Path, content: str = "first") -> str:
    """Put a small wheel of the wanted name, with its manifest, into a folder; return its digest."""
    folder.mkdir(exist_ok=True)
    path = folder / WANTED.file_name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("paddle/__init__.py", f"# {content}\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    size = path.stat().st_size
    entry = Entry("paddlepaddle-gpu", WANTED.version, WANTED.cuda, WANTED.python, size, digest, "a test", now())
    record(folder, path.name, entry)
    return digest


def test_a_build_is_of_the_recipe_and_a_second_one_builds_nothing(cloud: Cloud) -> None:
    first = cloud("image", "build", ERNIEKIT, "--json").data["images"][0]
    assert first["rebuilt"] == ["base", "installer", *layers_from(ERNIEKIT, "system")]
    built = image_events(cloud)
    assert {event["builder"] for event in built} == {IMAGE_BUILDER}
    shown = "\n".join(cloud.fake.image_commands(first["image_id"]))
    order = [
        f"FROM {IMAGES[ERNIEKIT].base.reference}",
        "COPY /python/. /usr/local",
        "ENTRYPOINT []",
        "uv==",
        "git checkout",
        "--requirements /paddle/ERNIE/requirements/gpu/requirements.txt",
        "ENV OCRVL_ERNIE_HOME",
        "what this image lacks",
    ]
    places = [shown.find(step) for step in order]
    assert -1 not in places, dict(zip(order, places, strict=True))
    assert places == sorted(places)

    second = cloud("image", "build", ERNIEKIT, "--json").data["images"][0]
    assert (second["rebuilt"], second["image_id"]) == ([], first["image_id"])
    assert len(image_events(cloud)) == len(built)
    assert cloud("image", "plan", ERNIEKIT, "--json").data["images"][0]["rebuilt"] == []


def test_a_changed_pin_rebuilds_its_layer_and_those_after_it_and_no_other(cloud: Cloud) -> None:
    cloud("image", "build", ERNIEKIT, "--json")
    before = len(image_events(cloud))
    pin = ("--pin", "tensorboard=2.20.0")
    planned = cloud("image", "plan", ERNIEKIT, *pin, "--json").data["images"][0]
    assert planned["rebuilt"] == layers_from(ERNIEKIT, "extras")
    whys = {layer["name"]: layer["why"] for layer in planned["layers"]}
    assert whys["extras"] == "tensorboard 2.21.0 → 2.20.0"
    assert whys["numpy"] == "after 'extras'"
    tried = cloud("image", "build", ERNIEKIT, *pin, "--json").data["images"][0]
    assert tried["rebuilt"] == planned["rebuilt"]
    anew = image_events(cloud)[before:]
    assert len(anew) == len(tried["rebuilt"])
    assert "tensorboard==2.20.0" in commands(anew[:1])

    back = cloud("image", "build", ERNIEKIT, "--json").data["images"][0]
    assert back["rebuilt"] == [], "the layers of before are still in the cache"
    assert len(image_events(cloud)) == before + len(anew)


def test_a_change_of_our_own_source_rebuilds_no_layer(cloud: Cloud, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "ocrvl_modal"
    shutil.copytree(Path(ocrvl_modal.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**cloud.fake.env, "OCRVL_BACKEND": "modal", "PYTHONPATH": str(copy.parent)}

    def check() -> None:
        command = [sys.executable, str(OCRVL), "data", "check", "/data/digits/train.jsonl", "--json"]
        environ = {**cloud.shell.environment, **environment}
        done = subprocess.run(command, cwd=cloud.shell.cwd, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    cloud("volume", "put", "./digits", "/data/digits")
    check()
    before, sent = len(image_events(cloud)), len(cloud.fake.rpcs("MountPutFile"))
    assert before
    with (copy / "jobs" / "check.py").open("a") as module:
        module.write("\n# A change.\n")
    check()
    assert len(image_events(cloud)) == before
    assert len(cloud.fake.rpcs("MountPutFile")) > sent, "the changed module was sent"


def test_a_wheel_of_this_machine_goes_to_the_store_once_and_is_mounted_for_its_layer(cloud: Cloud) -> None:
    digest = make_wheel(cloud.shell.cwd / "wheels")
    planned = cloud("image", "plan", ERNIEKIT, "--json").data["images"][0]
    wheel = next(layer["wheel"] for layer in planned["layers"] if layer["wheel"])
    assert wheel["from"] == "folder"
    assert wheel["upload_bytes"] == (cloud.shell.cwd / "wheels" / WANTED.file_name).stat().st_size
    cloud("image", "build", ERNIEKIT, "--json")
    (layer,) = [event for event in image_events(cloud) if event["volumes"]]
    assert list(layer["volumes"]) == ["/wheels"]
    assert f"echo '{digest}  /wheels/{digest}/{WANTED.file_name}' | sha256sum --check" in commands([layer])
    assert "paddlepaddle.org.cn" not in commands(image_events(cloud))
    assert (cloud.fake.volume("paddleocr-vl-wheels") / digest / WANTED.file_name).is_file()
    stored = cloud("image", "plan", ERNIEKIT, "--json").data["images"][0]
    assert (stored["rebuilt"], [each["digest"] for each in stored["layers"]]) == (
        [],
        [each["digest"] for each in planned["layers"]],
    )

    sent = len(cloud.uploads())
    assert cloud("image", "build", ERNIEKIT, "--json").data["images"][0]["rebuilt"] == []
    assert len(cloud.uploads()) == sent, "the wheel does not travel again"

    other = cloud.elsewhere()
    assert other("image", "plan", ERNIEKIT, "--json").data["images"][0]["rebuilt"], "it knows nothing yet"
    assert other("image", "plan", ERNIEKIT, "--refresh", "--json").data["images"][0]["rebuilt"] == []
    assert other("image", "build", ERNIEKIT, "--json").data["images"][0]["rebuilt"] == []


def test_a_wheel_here_that_is_another_than_the_stored_one_stops_the_build(cloud: Cloud) -> None:
    stored = make_wheel(cloud.shell.cwd / "wheels")
    cloud("wheel", "push", "--image", ERNIEKIT)
    (cloud.shell.cwd / "wheels").rename(cloud.shell.cwd / "wheels-of-then")
    here = make_wheel(cloud.shell.cwd / "wheels", "another")
    assert here != stored
    said = cloud("image", "build", ERNIEKIT, code=1)
    assert f"ocrvl volume rm /wheels/{stored}" in said.err
    assert not image_events(cloud)


def test_a_wheel_that_comes_to_the_store_after_a_build_from_the_index_is_told(cloud: Cloud) -> None:
    cloud("image", "build", ERNIEKIT, "--json")
    assert "--index https://www.paddlepaddle.org.cn/packages/stable/cu126/" in commands(image_events(cloud))
    make_wheel(cloud.shell.cwd / "wheels")
    planned = cloud("image", "plan", ERNIEKIT, "--json").data["images"][0]
    assert planned["rebuilt"] == layers_from(ERNIEKIT, "paddle")
    why = next(layer["why"] for layer in planned["layers"] if layer["name"] == "paddle")
    assert why == "source of the wheel: index → store"


def test_a_layer_that_fails_is_named_with_its_last_lines_and_those_before_it_are_kept(cloud: Cloud) -> None:
    cloud("image", "build", "light", "--json")
    lines = ["Resolved 1 package", "error: no such version of huggingface-hub"]
    cloud.fake.faults({"on": "image", "contains": "huggingface-hub==2.3.0", "message": "exit status 1", "lines": lines})
    pins = ("--pin", "huggingface_hub=2.3.0", "--pin", "jinja2=3.1.5")
    said = cloud("image", "build", "light", *pins, code=1)
    assert "the layer 'hub' of the image 'light' could not be built" in said.err
    assert lines[1] in said.err
    assert said.out == ""
    planned = cloud("image", "plan", "light", *pins, "--json").data["images"][0]
    assert planned["rebuilt"] == ["hub", "proof"], "the layer before it is in the cache"
    again = cloud("image", "build", "light", *pins, "--json").data["images"][0]
    assert again["rebuilt"] == ["hub", "proof"]


def test_the_lines_of_a_build_are_shown_and_the_result_stands_alone(cloud: Cloud) -> None:
    said = cloud("image", "build", "light")
    assert "Step: RUN python -m pip install" in said.err
    assert said.out.startswith("light: built 5 layers: base, installer, ocrvl, hub, proof (")
    assert len(said.out.splitlines()) == 1
    assert "was built already" in cloud("image", "build", "light").out
    assert cloud("image", "build", "light", "--force", "--quiet").err == ""


def test_force_builds_every_layer_anew(cloud: Cloud) -> None:
    cloud("image", "build", "light", "--json")
    before = len(image_events(cloud))
    assert cloud("image", "build", "light", "--force", "--json").data["images"][0]["rebuilt"][0] == "base"
    assert len(image_events(cloud)) == 2 * before


def test_what_a_job_builds_is_recorded_and_the_user_is_told(cloud: Cloud) -> None:
    said = cloud("download", "model", "tiny")
    assert "building the image 'light'" in said.err
    assert cloud("image", "plan", "light", "--json").data["images"][0]["rebuilt"] == []
    noted = json.loads((cloud.fake.volume("paddleocr-vl-wheels") / "builds" / "light.json").read_text())
    assert noted["image"] == "light"
    assert "building the image" not in cloud("download", "model", "tiny").err


def test_the_users_own_builder_version_is_kept(cloud: Cloud) -> None:
    cloud("image", "build", "light", "--json", MODAL_IMAGE_BUILDER_VERSION="2025.06")
    assert {event["builder"] for event in image_events(cloud)} == {"2025.06"}
    planned = cloud("image", "plan", "light", "--json").data["images"][0]
    assert planned["layers"][0]["why"] == f"image builder 2025.06 → {IMAGE_BUILDER}"


def test_a_plan_asks_nothing_of_modal(cloud: Cloud) -> None:
    cloud("image", "plan")
    cloud("image", "plan", ERNIEKIT, "--dockerfile")
    assert cloud.fake.rpcs() == []
    assert not (cloud.shell.home / "builds").exists()


def test_the_local_backend_says_how_to_get_an_image(cloud: Cloud) -> None:
    said = cloud("image", "build", "light", "--backend", "local", code=2)
    assert "ocrvl image plan light --dockerfile" in said.err
