"""The quickstart, whole: what a newcomer sees first."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Shell


@pytest.mark.xdist_group("quickstart")
def test_quickstart_learns_survives_a_kill_and_proves_it(bare_shell: Shell) -> None:
    said = bare_shell("quickstart", "--dir", "try", "--json").data
    assert said["scores"]["base"]["cer"] > 0.8
    assert said["scores"]["tuned"]["cer"] <= 0.05
    assert 0 < said["resumed_from_step"] <= said["killed_at_step"] < said["run"]["max_steps"]
    assert said["run"]["state"] == "done"
    assert len(said["run"]["attempts"]) == 2
    for name, path in said["files"].items():
        assert Path(path).exists(), name
        assert Path(path).is_relative_to(bare_shell.cwd / "try"), name
    steps = [row["step"] for row in Shell(bare_shell.cwd / "try", bare_shell.cwd).metrics("quickstart")]
    assert steps == list(range(1, said["run"]["max_steps"] + 1))
    reading = said["readings"][0]
    there = Shell(bare_shell.cwd / "try", bare_shell.cwd)
    assert there("infer", reading["image"], "--run", "quickstart").out.strip() == reading["read"]


@pytest.mark.parametrize(("engine", "hint"), [("erniekit", "--engine transformers"), ("paddle", "paddleformers")])
def test_quickstart_names_the_engines_that_can(bare_shell: Shell, engine: str, hint: str) -> None:
    said = bare_shell("quickstart", "--engine", engine, "--dir", "try", code=2)
    assert hint in said.err
    assert not (bare_shell.cwd / "try").exists()
