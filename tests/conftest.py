"""Real things for the tests: the installed command, a small dataset, a tiny model, a home of one's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from fakemodal.fixtures import fake_modal, start_fake_modal  # noqa: F401

OCRVL = Path(sys.executable).with_name("ocrvl")
WAIT_S = 120.0


def pytest_configure(config: pytest.Config) -> None:
    """Try the same examples in each default run, so that a change is to blame; the slow tests look for new ones."""
    # A shell without job control starts its background jobs with SIGINT ignored, and tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("same", derandomize=True)
    if config.option.markexpr != "slow":
        settings.load_profile("same")


@dataclass(frozen=True)
class Said:
    """How one command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        value: dict[str, Any] = json.loads(self.out)
        return value

    @property
    def data(self) -> dict[str, Any]:
        """The data of the JSON envelope."""
        data: dict[str, Any] = self.json["data"]
        return data


@dataclass(frozen=True)
class Shell:
    """The installed ``ocrvl``, with a home and a working folder of its own."""

    home: Path
    cwd: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the command sees: the outer environment without any Modal or ocrvl settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OCRVL_", "MODAL_"))}
        return {
            **kept,
            "OCRVL_HOME": str(self.home),
            "MODAL_CONFIG_PATH": str(self.home / "no-modal.toml"),
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *arguments: str | Path, code: int | None = 0, **environment: str) -> Said:
        """Run one command to its end; ``code`` is the exit code that it must have, ``None`` for any."""
        done = subprocess.run(
            [str(OCRVL), *map(str, arguments)],
            cwd=self.cwd,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in said.err, said.err
        if code is not None:
            assert said.code == code, f"exit code {said.code}\n{said.out}\n{said.err}"
        return said

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command and return at once; what it says goes to ``started.txt``."""
        with (self.cwd / "started.txt").open("ab") as said:
            return subprocess.Popen(
                [str(OCRVL), *map(str, arguments)],
                cwd=self.cwd,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    @property
    def started_said(self) -> str:
        """What started commands have printed so far."""
        return (self.cwd / "started.txt").read_text()

    def record(self, run: str) -> dict[str, Any]:
        """``run.json`` as it stands on disk; empty before there is one."""
        path = self.run_folder(run) / "run.json"
        if not path.is_file():
            return {}
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    def run_folder(self, run: str) -> Path:
        """The run's folder in the outputs store."""
        return self.home / "stores" / "outputs" / run

    def metrics(self, run: str) -> list[dict[str, Any]]:
        """The rows of the run's metrics."""
        path = self.run_folder(run) / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until ``condition`` holds; fail with ``what`` when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of digits: 64 training, 8 validation and 8 test samples."""
    from ocrvl_modal.data.synthesis.digits import synthesize_digits

    folder = tmp_path_factory.mktemp("made") / "digits"
    synthesize_digits(folder, train=64, validation=8, test=8)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, untrained."""
    from ocrvl_modal.engines.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("made") / "tiny"
    make_tiny_model(folder)
    return folder


@pytest.fixture
def bare_shell(tmp_path: Path) -> Shell:
    """The command in an empty home."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    return Shell(tmp_path / "home", cwd)


@pytest.fixture
def shell(bare_shell: Shell, tiny: Path, digits: Path) -> Shell:
    """The command in a home that has the tiny model, with the dataset in ``./digits``."""
    shutil.copytree(tiny, bare_shell.home / "stores" / "models" / "tiny")
    shutil.copytree(digits, bare_shell.cwd / "digits")
    return bare_shell
