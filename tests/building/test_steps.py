"""From recipes to commands: what is installed how, and what a change touches."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from building.images import BUILDER, STORED, THREE, WHEEL, python_layer, small_image
from ocrvl_modal.building.recipe import ImageRecipe, Layer, WheelSource
from ocrvl_modal.building.steps import Step, steps_of
from ocrvl_modal.building.trial import with_pins
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.image import IMAGES, LIGHT, TRAIN_ERNIEKIT, TRAIN_PADDLEFORMERS, TRAIN_TRANSFORMERS
from ocrvl_modal.pins import FRAMEWORK


def step(recipe: ImageRecipe, name: str) -> Step:
    return next(each for each in steps_of(recipe, BUILDER) if each.name == name)


def changed(before: ImageRecipe, after: ImageRecipe) -> list[str]:
    """The names of the steps that the second image does not share with the first."""
    known = {each.digest for each in steps_of(before, BUILDER)}
    return [each.name for each in steps_of(after, BUILDER) if each.digest not in known]


def names_from(recipe: ImageRecipe, name: str) -> list[str]:
    names = [each.name for each in steps_of(recipe, BUILDER)]
    return names[names.index(name) :]


def test_locked_packages_are_installed_by_name_and_nothing_is_resolved() -> None:
    (command,) = step(LIGHT, "hub").commands
    assert command.startswith("uv pip install --no-cache --compile-bytecode --system --no-deps ")
    assert "huggingface-hub==2.4.0" in command
    assert "tqdm==" in command, "what follows from the pins is named too"


def test_what_no_lock_knows_is_resolved_without_moving_earlier_layers() -> None:
    (command,) = step(small_image(python_layer("a", numpy="1.26.4"), python_layer("b", scipy="1.17.1")), "b").commands
    assert "--no-deps" not in command
    assert "printf '%s\\n' numpy==1.26.4 scipy==1.17.1 > /tmp/pins.txt && " in command
    assert "--constraint /tmp/pins.txt" in command
    assert command.endswith("scipy==1.17.1 && rm /tmp/pins.txt")


def test_a_build_of_another_index_is_fetched_there_and_its_needs_from_the_public_one() -> None:
    own, foreign = step(TRAIN_ERNIEKIT, "reader-torch").commands
    assert "--default-index https://download.pytorch.org/whl/cpu torch==2.13.0" in foreign
    assert "sympy==" in own
    assert "torch==" not in own.split()
    assert "nvidia" not in own + foreign
    assert "--python /opt/reader/bin/python" in own


def test_a_stored_wheel_is_mounted_and_verified_and_leaves_nothing_behind() -> None:
    made = step(THREE.with_wheel(STORED), "paddle")
    (command,) = made.commands
    assert made.mounts_wheels
    check, install = command.split(" && ")
    assert check == f"echo '{'a' * 64}  {STORED.path}' | sha256sum --check --strict -"
    assert install.endswith(f"--no-deps --link-mode copy {STORED.path}")
    assert "--no-cache" in install
    assert "paddlepaddle.org.cn" not in command


def test_a_wheel_with_other_bytes_is_not_installed(tmp_path: Path) -> None:
    path = tmp_path / WHEEL.file_name
    path.write_bytes(b"a wheel")
    source = WheelSource("store", str(path), hashlib.sha256(b"a wheel").hexdigest(), 7)
    check = step(THREE.with_wheel(source), "paddle").commands[0].replace("uv pip install", "echo installed #")
    assert run(check) == (0, f"{path}: OK\ninstalled\n")
    path.write_bytes(b"another")
    code, said = run(check)
    assert code != 0
    assert "installed" not in said


def run(command: str) -> tuple[int, str]:
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_wheel_of_this_machine_gives_the_layer_that_it_will_have_in_the_store() -> None:
    here = WheelSource("folder", STORED.path, STORED.sha256, STORED.size_bytes)
    assert changed(THREE.with_wheel(STORED), THREE.with_wheel(here)) == []


def test_the_framework_is_bounded_by_what_its_image_has_and_later_layers_cannot_fetch_it_again() -> None:
    needs, wheel = step(TRAIN_PADDLEFORMERS, "paddle").commands
    assert "opt-einsum==3.3.0" in needs
    assert "paddlepaddle==" not in needs
    assert "--constraint /tmp/pins.txt" in wheel
    for recipe in (TRAIN_PADDLEFORMERS, TRAIN_ERNIEKIT):
        for later in names_from(recipe, "paddle")[1:]:
            for command in step(recipe, later).commands:
                is_bounded = "--no-deps" in command or f"paddlepaddle-gpu=={recipe.framework.version}" in command
                assert is_bounded or "pip install" not in command, later


@pytest.mark.parametrize("name", IMAGES)
def test_a_changed_pin_changes_its_own_layer_and_those_after_it_and_no_other(name: str) -> None:
    recipe = IMAGES[name]
    for layer in recipe.layers:
        if layer.kind != "python" or not layer.pins:
            continue
        package = next(iter(layer.pins))
        layers = [replace(x, pins={**x.pins, package: "0.0.1"}) if x is layer else x for x in recipe.layers]
        assert changed(recipe, replace(recipe, layers=tuple(layers))) == names_from(recipe, layer.name)


def test_another_digest_of_the_wheel_or_another_source_changes_its_layer_and_those_after_it() -> None:
    stored = THREE.with_wheel(STORED)
    other = replace(STORED, sha256="b" * 64)
    assert changed(stored, THREE.with_wheel(other)) == ["paddle", "last", "proof"]
    assert changed(THREE, stored) == ["paddle", "last", "proof"]


def test_another_builder_or_base_changes_every_step() -> None:
    known = {each.digest for each in steps_of(LIGHT, BUILDER)}
    assert not known & {each.digest for each in steps_of(LIGHT, "2025.06")}
    moved = replace(LIGHT, base=replace(LIGHT.base, digest="sha256:0"))
    assert len(changed(LIGHT, moved)) == len(known)


def test_the_size_of_a_layer_is_the_sum_of_its_files_and_unknown_where_one_is() -> None:
    assert step(LIGHT, "hub").download_bytes > 20_000_000
    assert step(TRAIN_TRANSFORMERS, "torch").download_bytes > 500_000_000
    assert step(TRAIN_ERNIEKIT, "reader-torch").download_bytes is None
    assert step(TRAIN_ERNIEKIT.with_wheel(STORED), "paddle").download_bytes == 0
    assert step(TRAIN_ERNIEKIT, "paddle").download_bytes == 1_890_365_820


def test_a_trial_version_is_taken_wherever_the_package_is_pinned() -> None:
    (tried,) = with_pins([TRAIN_ERNIEKIT], ["numpy=1.26.3"])
    assert {layer.pins["numpy"] for layer in tried.layers if "numpy" in layer.pins and not layer.python} == {"1.26.3"}
    assert changed(TRAIN_ERNIEKIT, tried) == names_from(TRAIN_ERNIEKIT, "dependencies")
    (framework,) = with_pins([THREE], ["paddlepaddle-gpu==3.2.1"])
    assert framework.framework == replace(WHEEL, version="3.2.1")


@pytest.mark.parametrize(
    ("pin", "message"),
    [
        ("nump=1", "no layer pins 'nump'"),
        ("numpy", "no name=version"),
        ("numpy=", "no name=version"),
        ("numpy=1; rm -rf /", "no name=version"),
        ("numpy=banana", "no name=version"),
        ("numpy=1.26(3)", "no name=version"),
        ("numpy=1.26\n3", "no name=version"),
        ("numpy>=1.26", "no layer pins|no name=version"),
    ],
)
def test_a_trial_that_cannot_be_is_refused(pin: str, message: str) -> None:
    with pytest.raises(OcrvlError, match=message) as caught:
        with_pins([TRAIN_ERNIEKIT], [pin])
    assert caught.value.code == ExitCode.USAGE
    assert caught.value.hint


@pytest.mark.parametrize("name", IMAGES)
def test_the_proof_compares_python_packages_and_nothing_else(name: str) -> None:
    recipe = IMAGES[name]
    packages = {package for layer in recipe.layers if layer.kind == "python" for package in layer.pins}
    compared = recipe.pinned()
    assert compared
    assert set(compared) <= {*packages, FRAMEWORK}


def test_steps_are_one_line_each() -> None:
    lines = [c for recipe in IMAGES.values() for s in steps_of(recipe, BUILDER) for c in s.commands]
    assert all("\n" not in line for line in lines)


def test_a_layer_of_commands_is_run_as_it_is() -> None:
    recipe = small_image(Layer("tree", "a tree of source", "commands", commands=("git clone a b", "cd b && ls")))
    assert step(recipe, "tree").commands == ("git clone a b", "cd b && ls")
