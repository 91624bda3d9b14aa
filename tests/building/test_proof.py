"""The check that ends a build, really run."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from ocrvl_modal.building.proof import proof_command


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, env=environment)


def test_it_fails_with_the_names_of_all_that_is_missing() -> None:
    command = proof_command(
        sys.executable,
        ("json", "no_such_module", "no_other"),
        ("sh", "no-such-program"),
        {"pydantic": "0.0.1", "no-such-package": "1.0"},
    )
    done = run(command, PATH="/usr/bin:/bin")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "what this image lacks:"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "module no_such_module",
        "module no_other",
        "program no-such-program",
        "package pydantic",
        "package no-such-package",
    ]
    assert f"{metadata.version('pydantic')} is installed, 0.0.1 is wanted" in done.stderr


def test_a_module_that_breaks_while_it_is_imported_is_named_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('built for another numpy')\n")
    done = run(proof_command(sys.executable, ("broken",)), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "module broken: RuntimeError: built for another numpy" in done.stderr


def test_it_passes_where_nothing_is_missing_and_is_one_line() -> None:
    versions = {"pydantic": metadata.version("pydantic"), "torch": metadata.version("torch").partition("+")[0]}
    command = proof_command(sys.executable, ("json",), ("sh",), versions)
    done = run(command, PATH="/usr/bin:/bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "\n" not in command
