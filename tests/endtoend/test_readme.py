"""Every command that the README shows, and the page on Modal, run in their order. The toy stands in for the real model.

What a page shows on Modal runs against the fake cloud: as in life, a token is all that sends a command there.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from conftest import Shell
from fakemodal import FakeModal

PROJECT = Path(__file__).parents[2]
ON_MODAL = "On Modal"
TOY = ["--model", "tiny", "--set", "schedule.max_steps=4"]


def commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ocrvl ")]


def readme_commands(*, on_modal: bool) -> list[list[str]]:
    sections = re.split(r"^## ", (PROJECT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [command for text in sections if text.startswith(ON_MODAL) == on_modal for command in commands(text)]


def modal_page_commands() -> list[list[str]]:
    return commands((PROJECT / "docs" / "modal.md").read_text(encoding="utf-8"))


def with_the_toy(command: list[str]) -> list[str]:
    if command[0] == "infer":
        return [*command, "--max-new-tokens", "8"]
    if command[0] != "train":
        return command
    if "--model" in command:
        place = command.index("--model")
        command = command[:place] + command[place + 2 :]
    return [*command, *TOY]


def lay_out_what_the_pages_take_for_granted(shell: Shell) -> None:
    (shell.cwd / "digits").rename(shell.cwd / "mine")
    images = sorted((shell.cwd / "mine" / "images").iterdir())
    shutil.copy(images[0], shell.cwd / "page.png")
    (shell.cwd / "scans").mkdir()
    for image in images:
        shutil.copy(image, shell.cwd / "scans")
        (shell.cwd / "scans" / image.name).with_suffix(".txt").write_text(f"{image.stem}\n")


def run_in_order(shell: Shell, shown: list[list[str]], **environment: str) -> None:
    lay_out_what_the_pages_take_for_granted(shell)
    for command in shown:
        shell(*with_the_toy(command), **environment)
    for run in shell("runs", "ls", "--json", **environment).data["runs"]:
        shell("runs", "wait", run["name"], **environment)


@pytest.mark.xdist_group("readme")
def test_every_command_of_the_readme_works_in_its_order(shell: Shell) -> None:
    shown = readme_commands(on_modal=False)
    assert len(shown) >= 15
    run_in_order(shell, shown)
    assert (shell.cwd / "my-model" / "model.safetensors").is_file()
    assert (shell.cwd / "mine.yaml").is_file()


@pytest.mark.slow
def test_every_command_that_the_readme_shows_on_modal_works_in_its_order(shell: Shell, fake_modal: FakeModal) -> None:
    shown = readme_commands(on_modal=True)
    assert len(shown) >= 4
    run_in_order(shell, shown, **fake_modal.env)
    assert {call["function"] for call in fake_modal.events("call")} >= {"train", "evaluate", "infer"}


@pytest.mark.slow
def test_every_command_of_the_page_on_modal_works_in_its_order(shell: Shell, fake_modal: FakeModal) -> None:
    shown = modal_page_commands()
    assert len(shown) >= 8
    run_in_order(shell, shown, **fake_modal.env)
    assert (shell.cwd / "my-model" / "model.safetensors").is_file()


def test_every_command_of_the_page_on_images_works_in_its_order(bare_shell: Shell, fake_modal: FakeModal) -> None:
    shown = commands((PROJECT / "docs" / "images.md").read_text(encoding="utf-8"))
    assert len(shown) >= 6
    for command in shown:
        bare_shell(*command, **fake_modal.env)
