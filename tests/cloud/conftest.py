"""The installed command against the fake cloud."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Said, Shell, wait_until
from fakemodal import FakeModal

SHORT = ("--set", "schedule.max_steps=24", "--set", "checkpoint.save_steps=4")
LONG = ("--set", "schedule.max_steps=4000", "--set", "checkpoint.save_steps=20")


@dataclass(frozen=True)
class Cloud:
    """A user with a token: their shell, and the cloud that it talks to."""

    shell: Shell
    fake: FakeModal

    def __call__(self, *arguments: str | Path, code: int | None = 0, **environment: str) -> Said:
        """Run a command on the modal backend."""
        return self.shell(*arguments, code=code, **{**self.fake.env, "OCRVL_BACKEND": "modal", **environment})

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command on the modal backend and return at once; what it says is in the shell's ``started_said``."""
        return self.shell.start(*arguments, **{**self.fake.env, "OCRVL_BACKEND": "modal"})

    def train(self, name: str, *more: str, data: str = "./digits/train.jsonl") -> Said:
        """Start a detached run of the tiny model."""
        command = ("train", "--data", data, "--model", "tiny", "--engine", "transformers", "--backend", "modal")
        return self(*command, "--name", name, "--detach", "--json", *more)

    def elsewhere(self) -> Cloud:
        """Return the same user on another machine, with nothing but the token."""
        home = self.shell.home.with_name("another-home")
        cwd = self.shell.cwd.with_name("another-cwd")
        cwd.mkdir(exist_ok=True)
        return replace(self, shell=Shell(home, cwd))

    def run(self, name: str) -> dict[str, Any]:
        """Return a run as ``runs show`` tells it."""
        shown: dict[str, Any] = self("runs", "show", name, "--json").data["run"]
        return shown

    def committed(self, name: str) -> Path:
        """Return a run's folder as the outputs volume holds it."""
        return self.fake.volume("paddleocr-vl-outputs") / name

    def is_committed(self, name: str, pattern: str) -> bool:
        """Say whether a file of a run is in the outputs volume, which need not be there itself yet."""
        volumes = self.fake.describe()["volumes"]
        return "paddleocr-vl-outputs" in volumes and any(self.committed(name).glob(pattern))

    def wait_for_checkpoint(self, name: str) -> None:
        """Wait until a complete checkpoint of the run is committed."""
        wait_until(lambda: self.is_committed(name, "checkpoints/*/COMPLETE.json"), f"a committed checkpoint of {name}")

    def uploads(self) -> list[dict[str, Any]]:
        """Return the requests by which this machine put files into a store, but for notes of what was built or used."""
        puts = self.fake.rpcs("VolumePutFiles2", task="")
        return [put for put in puts if not all(_is_note(file["path"]) for file in put["req"].get("files", []))]

    def steps(self, name: str) -> list[int]:
        """Return the steps in the run's committed metrics."""
        rows = (self.committed(name) / "metrics.jsonl").read_text().splitlines()
        return [json.loads(row)["step"] for row in rows]


def _is_note(path: str) -> bool:
    return "builds/" in path or path.endswith("/.used") or "/.pushing/" in path


@pytest.fixture
def cloud(shell: Shell, fake_modal: FakeModal) -> Cloud:
    """A user in front of an empty cloud."""
    return Cloud(shell, fake_modal)


@pytest.fixture
def start_cloud(shell: Shell, start_fake_modal: Callable[..., FakeModal]) -> Callable[..., Cloud]:
    """Start clouds with options of one's own."""
    return lambda **options: Cloud(shell, start_fake_modal(**options))
