"""The commands that the page on datasets shows, in their order, on what a newcomer would have lying about."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from conftest import Shell
from data import pictures, sources

DOCS = Path(__file__).parents[2] / "docs"
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
TABLE = "<table><tr><td colspan='2'>Sum {0}</td></tr><tr><td>net</td><td>{0}</td></tr></table>"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / "datasets.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ocrvl ")]


def lay_out_what_the_page_takes_for_granted(folder: Path) -> None:
    chance = Random(3)
    for number in range(96):
        draw(folder / "scans" / f"page-{number // 4:02d}-line-{number % 4}.png", pictures.words(chance, 4))
    for number in range(6):
        image = folder / "table-scans" / f"{number}.png"
        draw(image, pictures.words(chance, 6))
        image.with_suffix(".html").write_text(TABLE.format(number))
        image.with_suffix(".txt").unlink()
    labels = sources.paddle_detection(folder / "elsewhere")
    labels.write_text(labels.read_text().replace("scans/", "labels/"))
    labels.parent.rename(folder / "labels")
    sources.page_xml(folder / "archive")
    (folder / "words.txt").write_text("\n".join(pictures.words(chance, 5) for _ in range(300)))
    (folder / "fonts").mkdir()
    shutil.copy(FONT, folder / "fonts")


def draw(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    pictures.line(text).save(path)
    path.with_suffix(".txt").write_text(text)


def make_findings() -> ModuleType:
    spec = spec_from_file_location("make_findings", DOCS / "make_findings.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not FONT.is_file(), reason="needs a font that the system brings")
def test_every_command_of_the_page_works_as_it_is_shown(shell: Shell) -> None:
    shown = commands()
    assert len(shown) > 20
    lay_out_what_the_page_takes_for_granted(shell.cwd)
    for command in shown:
        toy = ["--model", "tiny"] if command[0] == "train" else []
        shell(*[word for word in command if word not in ("--model", "1.6") or not toy], *toy)


def test_the_table_of_findings_is_that_of_the_check() -> None:
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    assert make_findings().with_table(page) == page, "make findings"
