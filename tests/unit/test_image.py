"""The list of images: what is installed, in which order, and that nothing of it floats."""

from __future__ import annotations

import re

import pytest

from ocrvl_modal.building.locks import plain_name, read_lock
from ocrvl_modal.building.steps import INSTALLER, PROOF, steps_of
from ocrvl_modal.engines import ENGINE_NAMES
from ocrvl_modal.image import IMAGES, LIGHT, TRAIN_ERNIEKIT, get_image, training_image
from ocrvl_modal.pins import FRAMEWORK_WHEELS, IMAGE_BUILDER, PYTHON, PYTHON_RELEASE, PYTHON_STANDALONE, UV

EXACT = re.compile(r"[A-Za-z0-9_.-]+==[^=<>~*]+")


def commands(name: str) -> str:
    """All that the build of an image runs, in its order."""
    return "\n".join(command for step in steps_of(IMAGES[name], IMAGE_BUILDER) for command in step.commands)


@pytest.mark.parametrize("name", IMAGES)
def test_every_package_that_pip_or_uv_gets_is_pinned_by_name(name: str) -> None:
    for command in commands(name).splitlines():
        for install in re.findall(r"pip install (.*?)(?: && |$)", command):
            words = [word for word in re.split(r"\s+", install) if word]
            named = [word for word, before in zip(words, ["", *words], strict=False) if not is_option(word, before)]
            assert all(EXACT.fullmatch(word) for word in named), install


def is_option(word: str, before: str) -> bool:
    valued = ("--constraint", "--build-constraint", "--requirements", "--editable", "--python", "--index")
    return word.startswith("-") or before in (*valued, "--index-strategy", "--default-index", "--root-user-action")


@pytest.mark.parametrize("name", IMAGES)
def test_the_lock_of_an_image_is_of_its_pins(name: str) -> None:
    lock = read_lock(name)
    for layer in IMAGES[name].layers:
        if layer.kind == "python" and layer.pins:
            locked = {each: lock[layer.name][plain_name(each)].version for each in layer.pins}
            assert locked == dict(layer.pins), "make lock-images"


@pytest.mark.parametrize("name", IMAGES)
def test_one_python_is_given_no_package_in_two_versions(name: str) -> None:
    image = IMAGES[name]
    for python in {layer.python for layer in image.layers}:
        versions: dict[str, set[str]] = {}
        for layer, packages in read_lock(name).items():
            if next(each for each in image.layers if each.name == layer).python == python:
                for package, locked in packages.items():
                    versions.setdefault(package, set()).add(locked.version)
        assert {package: found for package, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", IMAGES)
def test_every_layer_has_a_name_of_its_own_and_a_reason(name: str) -> None:
    layers = IMAGES[name].layers
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(len(layer.reason) > 10 for layer in layers)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_begins_with_the_pinned_installer_and_ends_with_its_proof(name: str) -> None:
    steps = steps_of(IMAGES[name], IMAGE_BUILDER)
    assert steps[1].name == INSTALLER
    assert f"uv=={UV}" in steps[1].commands[0]
    assert steps[-1].name == PROOF
    assert IMAGES[name].base.digest, "each base is pinned by digest"


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_every_engine_has_an_image(engine: str) -> None:
    assert training_image(engine).name == f"train-{engine}"


def test_the_python_that_modals_builder_adds_is_the_one_that_we_name() -> None:
    from modal.mount import PYTHON_STANDALONE_VERSIONS

    assert PYTHON_STANDALONE_VERSIONS[IMAGE_BUILDER][PYTHON] == (PYTHON_STANDALONE, PYTHON_RELEASE)


def test_every_framework_wheel_is_of_the_images_python() -> None:
    for name, wheel in FRAMEWORK_WHEELS.items():
        assert get_image(name).framework == wheel
        assert wheel.python == "cp" + PYTHON.replace(".", "")


def test_erniekit_is_installed_in_the_documented_order() -> None:
    shown = commands("train-erniekit")
    order = [
        "opt-einsum==3.3.0",
        "--no-deps --index https://www.paddlepaddle.org.cn/packages/stable/cu126/",
        "paddlepaddle-gpu==3.2.0",
        "git clone https://github.com/PaddlePaddle/ERNIE /paddle/ERNIE",
        "git checkout 790a50b045d1aca2753d5395d8bec0806b2e6925",
        "--requirements /paddle/ERNIE/requirements/gpu/requirements.txt",
        "--editable /paddle/ERNIE",
        "opencv-python-headless==4.11.0.86 tensorboard==2.21.0",
        "--no-deps numpy==1.26.4 opt-einsum==3.3.0",
    ]
    places, start = [], 0
    for step in order:
        places.append(shown.find(step, start))
        start = max(start, places[-1])
    assert -1 not in places, dict(zip(order, places, strict=True))
    after = [layer for layer in TRAIN_ERNIEKIT.layers if layer.kind == "python"]
    names = [layer.name for layer in after]
    later = after[names.index("numpy") + 1 :]
    assert later
    assert all(layer.python for layer in later), "numpy is the last that the engine's own Python gets"


def test_the_light_image_has_no_framework() -> None:
    names = {name for packages in read_lock("light").values() for name in packages}
    assert not {name for name in names if re.match(r"torch|paddle|transformers|nvidia", name)}
    assert LIGHT.framework is None


def test_an_unknown_image_is_answered_with_the_nearest_name() -> None:
    from ocrvl_modal.errors import OcrvlError

    with pytest.raises(OcrvlError) as caught:
        get_image("serve-vlm")
    assert "serve-vllm" in caught.value.hint
