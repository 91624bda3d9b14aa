"""A package under torchcodec's name that is not torchcodec, as PaddleFormers installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = (
    "import importlib.util, sys\n"
    "from ocrvl_modal.engines.libraries import make_transformers_importable\n"
    "make_transformers_importable()\n"
    "print(importlib.util.find_spec('torchcodec') is not None)"
)


@pytest.mark.parametrize(("metadata", "stays"), [(False, "False"), (True, "True")])
def test_only_a_stand_in_without_a_version_is_hidden(tmp_path: Path, metadata: bool, stays: str) -> None:
    (tmp_path / "torchcodec").mkdir()
    (tmp_path / "torchcodec" / "__init__.py").touch()
    if metadata:
        (tmp_path / "torchcodec-0.9.dist-info").mkdir()
        (tmp_path / "torchcodec-0.9.dist-info" / "METADATA").write_text("Name: torchcodec\nVersion: 0.9\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == stays
