"""The light image's Python layers, really installed from the public index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from building.images import BUILDER
from ocrvl_modal.building.steps import INSTALLER, PROOF, steps_of
from ocrvl_modal.building.trial import with_pins
from ocrvl_modal.image import LIGHT
from ocrvl_modal.pins import PYTHON


def index_answers() -> bool:
    """Say whether the package index that pip is set to tells the versions of uv."""
    asked = [sys.executable, "-m", "pip", "index", "versions", "--disable-pip-version-check", "uv"]
    return subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode == 0


def python_of_the_images() -> str | None:
    """Return an interpreter of this machine that is of the images' version."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, f"python{PYTHON}", *map(str, versions.glob(f"{PYTHON}.*/bin/python"))]
    for python in candidates:
        try:
            asked = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            continue
        if said.strip() == PYTHON:
            return python
    return None


@pytest.mark.slow
def test_the_layers_of_the_light_image_install_and_pass_their_own_proof(tmp_path: Path) -> None:
    if not index_answers():
        pytest.skip("the package index cannot be reached")
    interpreter = python_of_the_images()
    if interpreter is None:
        pytest.skip(f"there is no Python {PYTHON} on this machine")
    python = tmp_path / "image" / "bin" / "python"
    steps = {step.name: step for step in steps_of(LIGHT, BUILDER)}
    subprocess.run([interpreter, "-m", "venv", str(python.parents[1])], check=True)
    here = {**os.environ, "PATH": f"{python.parent}:/usr/bin:/bin", "VIRTUAL_ENV": str(python.parents[1])}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        # A build has one Python, which is the system's; here it is that of an environment of its own.
        own = command.replace("--system", f"--python {python}").replace("python -c", f"{python} -c")
        return subprocess.run(["/bin/sh", "-c", own], env=here, capture_output=True, text=True, check=False)

    for name in (INSTALLER, *(layer.name for layer in LIGHT.layers)):
        for command in steps[name].commands:
            done = run(command)
            assert done.returncode == 0, done.stderr
    (proof,) = steps[PROOF].commands
    done = run(proof)
    assert done.returncode == 0, done.stderr
    listed = run("python -m pip list --format freeze --disable-pip-version-check").stdout
    wanted = {f"{n}=={v}" for layer in LIGHT.layers for n, v in steps[layer.name].brings.items()}
    assert wanted <= set(listed.lower().replace("_", "-").split())
    (tried,) = with_pins([LIGHT], ["jinja2=3.1.5"])
    (resolved,) = next(step.commands for step in steps_of(tried, BUILDER) if step.name == "ocrvl")
    done = run(resolved)
    assert done.returncode == 0, done.stderr
    assert f"package jinja2: 3.1.5 is installed, {LIGHT.pinned()['jinja2']} is wanted" in run(proof).stderr
    run("uv pip uninstall --system numpy tqdm")
    assert "module numpy: ModuleNotFoundError" in run(proof).stderr
