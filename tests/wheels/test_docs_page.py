"""Every command that the page on wheels shows, in its order; the framework's own index is played here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Shell
from ocrvl_modal.pins import FRAMEWORK_WHEELS
from transfer.server import Site
from wheels.making import host_index, make_wheel

PAGE = Path(__file__).parents[2] / "docs" / "wheels.md"


def shown() -> Iterator[list[str]]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        yield from (shlex.split(line, comments=True)[1:] for line in block.splitlines())


@pytest.mark.parametrize("command", ["wheel fetch", "wheel verify", "wheel ls", "wheel push"])
def test_the_page_shows_every_command(command: str) -> None:
    assert [words for words in shown() if " ".join(words).startswith(command)]


def test_the_commands_of_the_page_run_in_their_order(bare_shell: Shell, site: Site) -> None:
    wheels = {wheel.file_name: make_wheel(version=wheel.version) for wheel in FRAMEWORK_WHEELS.values()}
    index = host_index(site, wheels)
    for words in shown():
        words = ["local" if word == "modal" else word for word in words]
        asks = words[1] == "fetch" or "--remote" in words
        bare_shell(*words, *(["--index-url", index] if asks else []))
    stored = bare_shell("wheel", "ls", "--backend", "local", "--json").data
    assert len(stored["local"]) == len(wheels)
    assert len(stored["stored"]) == 1
