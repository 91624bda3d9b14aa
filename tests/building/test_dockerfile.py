"""The Dockerfile of an image: the same steps in the same order."""

from __future__ import annotations

import re

import pytest

from building.images import BUILDER, STORED, THREE, WHEEL
from ocrvl_modal.building.dockerfile import dockerfile
from ocrvl_modal.building.steps import steps_of
from ocrvl_modal.image import IMAGES, TRAIN_ERNIEKIT


def instructions(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", IMAGES)
def test_it_has_every_command_of_the_build_in_its_order(name: str) -> None:
    lines = instructions(dockerfile(IMAGES[name], BUILDER))
    ran = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ") and "/tmp/python.tar.gz" not in line]
    assert ran == [command for step in steps_of(IMAGES[name], BUILDER) for command in step.commands]
    assert lines[0] == f"FROM {IMAGES[name].base.reference}"
    assert {line.split()[0] for line in lines} <= {"FROM", "RUN", "ENV", "ADD", "ENTRYPOINT"}
    assert "exec(" in lines[-1]


def test_a_base_without_python_gets_the_one_that_modals_builder_would_add() -> None:
    text = dockerfile(TRAIN_ERNIEKIT, BUILDER)
    assert re.search(
        r"^ADD https://\S+/20261021/cpython-3\.12\.15%2B20261021-x86_64-\S+ /tmp/python\.tar\.gz$", text, re.M
    )
    assert 'ENV OCRVL_ERNIE_HOME="/paddle/ERNIE"' in text
    assert "ENTRYPOINT []" in text


def test_a_wheel_is_mounted_from_the_folder_beside_it_and_verified() -> None:
    text = dockerfile(THREE.with_wheel(STORED), BUILDER)
    (line,) = [each for each in instructions(text) if "sha256sum" in each]
    assert line.startswith(
        f"RUN --mount=type=bind,source=wheels,target=/wheels echo '{'a' * 64}  /wheels/{WHEEL.file_name}'"
    )
    assert STORED.path not in text
    assert f"{WHEEL.file_name} in wheels/" in text
