"""Images as data: what is installed, in which order, and what proves it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from ocrvl_modal.engines import ENGINE_NAMES
from ocrvl_modal.image import IMAGES, LIGHT, TRAIN_ERNIEKIT, ImageRecipe, Layer, training_image

EXACT = re.compile(r"[A-Za-z0-9_.-]+==[^=<>~*]+")


def installed(image: ImageRecipe) -> str:
    """Everything that an image's layers install, in their order."""
    return "\n".join(f"{layer.options} {item}" for layer in image.layers for item in layer.items)


@pytest.mark.parametrize("name", IMAGES)
def test_every_python_package_is_pinned(name: str) -> None:
    for layer in IMAGES[name].layers:
        if layer.kind == "python":
            assert all(EXACT.fullmatch(item) for item in layer.items), layer


@pytest.mark.parametrize("name", IMAGES)
def test_every_layer_has_a_name_of_its_own_and_a_reason(name: str) -> None:
    layers = IMAGES[name].layers
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(len(layer.reason) > 10 for layer in layers)


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_every_engine_has_an_image_of_python_3_12(engine: str) -> None:
    image = training_image(engine)
    assert image.name == f"train-{engine}"
    assert image.python == "3.12"


def test_erniekit_is_installed_in_the_documented_order() -> None:
    commands = installed(TRAIN_ERNIEKIT)
    order = [
        "opt_einsum==3.3.0",
        "--no-deps paddlepaddle-gpu==3.2.0",
        "git clone https://github.com/PaddlePaddle/ERNIE /paddle/ERNIE",
        "git checkout 790a50b045d1aca2753d5395d8bec0806b2e6925",
        "-r requirements/gpu/requirements.txt",
        "pip install -e .",
        "tensorboard",
        "opencv-python-headless",
        "numpy==1.26.4 opt_einsum==3.3.0",
    ]
    places = [commands.rfind(step) if step.startswith("numpy") else commands.find(step) for step in order]
    assert -1 not in places
    assert places == sorted(places)
    after = commands[places[-1] :].splitlines()[1:]
    assert all("/opt/reader" in line for line in after), "numpy is the last that the engine's own Python gets"


def test_the_check_at_the_end_fails_with_the_name_of_what_is_missing() -> None:
    image = ImageRecipe(
        "broken", layers=(Layer("none", "nothing at all", "run", ("true",)),), imports=("json", "no_such")
    )
    command = shlex.split(image.import_check)
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=False)
    assert command[0] == "python"
    assert done.returncode == 1
    assert "No module named 'no_such'" in done.stderr


def test_the_light_image_has_no_framework() -> None:
    assert not re.search(r"torch|paddle|transformers", installed(LIGHT))
