"""Every command that the README shows, run in the README's order. The toy stands in for the real model."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from conftest import Shell

README = Path(__file__).parents[2] / "README.md"
TOY = ["--model", "tiny", "--set", "schedule.max_steps=4"]


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ocrvl ")]


def with_the_toy(command: list[str]) -> list[str]:
    if command[0] == "infer":
        return [*command, "--max-new-tokens", "8"]
    if command[0] != "train":
        return command
    if "--model" in command:
        place = command.index("--model")
        command = command[:place] + command[place + 2 :]
    return [*command, *TOY]


@pytest.mark.xdist_group("readme")
def test_every_command_of_the_readme_works_in_its_order(shell: Shell) -> None:
    (shell.cwd / "digits").rename(shell.cwd / "mine")
    shutil.copy(next((shell.cwd / "mine" / "images").glob("test-*.png")), shell.cwd / "page.png")
    shown = commands()
    assert len(shown) >= 15
    for command in shown:
        shell(*with_the_toy(command))
    for run in shell("runs", "ls", "--json").data["runs"]:
        shell("runs", "wait", run["name"])
    assert (shell.cwd / "my-model" / "model.safetensors").is_file()
    assert (shell.cwd / "mine.yaml").is_file()
