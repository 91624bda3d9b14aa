"""Every command that docs/doctor.md shows; those on Modal run against the fake cloud, whose GPUs are a word only."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from conftest import Shell
from fakemodal import FakeModal

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"


def shown() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


def is_on_modal(command: list[str]) -> bool:
    return command[0] == "image" or bool({"--remote", "--image", "--gpu"} & set(command))


@pytest.mark.slow
def test_every_command_of_the_page_works(shell: Shell, fake_modal: FakeModal) -> None:
    commands = shown()
    assert {is_on_modal(command) for command in commands} == {True, False}
    for command in commands:
        if is_on_modal(command):
            # These containers have not what images have, so some checks fail; all of them are told.
            said = shell(*command, "--yes", "--json", code=None, **fake_modal.env)
            assert said.code in (0, 1)
            assert not any(check["check"] == "start" for check in said.data["checks"])
        else:
            said = shell(*command, "--json")
        assert said.data["checks"]
