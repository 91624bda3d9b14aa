"""Clients of the fake cloud: the real Modal package in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from fakemodal import FakeModal

HERE = Path(__file__).parent
SECRETS = {"hf-token": {"HF_TOKEN": "hf_secret"}}  # what the sample app needs
_PREAMBLE = """\
import json, modal, time
def name_of_error(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__
"""


def environment(cloud: FakeModal, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
    return {**kept, **cloud.env, **more}


def run(
    cloud: FakeModal, *arguments: str, check: bool = True, cwd: Path = HERE, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments as a client."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(cloud, **more),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def modal_cli(cloud: FakeModal, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run(cloud, "-m", "modal", *arguments, check=check)


def script(cloud: FakeModal, code: str, cwd: Path = HERE, **more: str) -> Any:
    """Run client code and return what it left in ``result``; ``name_of_error(call)`` helps it."""
    text = f"{_PREAMBLE}{textwrap.dedent(code)}\nprint('RESULT' + json.dumps(result))"
    return json.loads(run(cloud, "-c", text, cwd=cwd, **more).stdout.rpartition("RESULT")[2])
