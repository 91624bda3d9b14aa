"""The fake cloud as a context manager, and what tests may ask of it."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_IMPORT_FOLDER = Path(__file__).parents[1]
_START_TIMEOUT_S, _END_TIMEOUT_S = 60, 60


class FakeModal:
    """Runs the server in a process of its own, which ends with the block or with this process.

    Options are those of the command line: ``idle_timeout=2``, ``container_env=["A=b"]``, ``live_volumes=True``.
    """

    def __init__(self, state: Path | str, **options: Any) -> None:
        self.state = Path(state)
        self._port_file = self.state / "port.json"
        self._command = [sys.executable, "-m", __package__, "--until-stdin-closes"]
        for name, value in {"state": state, "port_file": self._port_file, **options}.items():
            self._command += _flags(name, value)

    def __enter__(self) -> FakeModal:
        self.state.mkdir(parents=True, exist_ok=True)
        self._port_file.unlink(missing_ok=True)
        path = os.pathsep.join(filter(None, [str(_IMPORT_FOLDER), os.environ.get("PYTHONPATH")]))
        said = self.state / "server.out"
        with said.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise RuntimeError(f"the fake cloud did not start:\n{said.read_text()}")
            time.sleep(0.02)
        self._info = json.loads(self._port_file.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        """Process id of the server; its containers are below it."""
        return self._process.pid

    @property
    def env(self) -> dict[str, str]:
        """Environment of a client process."""
        env: dict[str, str] = self._info["env"]
        return env

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """Replace the fault rules; all counts start at zero."""
        path = self.state / "faults.json"
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(rules))
        beside.replace(path)

    def rpcs(self, name: str | None = None, **facts: Any) -> list[dict[str, Any]]:
        """The recorded RPCs that ended, e.g. ``rpcs("FunctionCreate", status="OK")``."""
        return self._records("rpc", name, facts)

    def events(self, kind: str | None = None, **facts: Any) -> list[dict[str, Any]]:
        """What happened, e.g. ``events("attempt", function="train")``."""
        return self._records("events", kind, facts)

    def describe(self) -> dict[str, Any]:
        """The state: apps, functions, calls, containers, volumes, unimplemented RPCs."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self._info['http_url']}/_state") as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def function(self, name: str) -> dict[str, Any]:
        """Definition of the newest function with that name."""
        functions = self.describe()["functions"]
        found = [each["definition"] for each in functions if each["name"] == name and not each["base"]]
        definition: dict[str, Any] = found[-1]
        return definition

    def image_commands(self, image_id: str) -> list[str]:
        """The Dockerfile commands of an image, those of the lowest layer first."""
        layer = self.events("image", image=image_id)[-1]
        below = [command for base in layer["bases"] for command in self.image_commands(base)]
        return [*below, *layer["commands"]]

    def mounted_files(self, name: str) -> list[str]:
        """Paths, in its containers, of the files that a function's client sent along."""
        made = {each["resp"]["mount_id"]: each["req"] for each in self.rpcs("MountGetOrCreate", status="OK")}
        mounts = [made[mount_id] for mount_id in self.function(name).get("mount_ids", [])]
        return sorted(file["filename"] for mount in mounts for file in mount.get("files", []))

    def volume(self, name: str) -> Path:
        """The folder with the committed contents of a volume."""
        return Path(self.describe()["volumes"][name]["path"])

    def logs(self, app_id: str = "*") -> str:
        """What the containers of an app wrote, or those of all apps and the image builder."""
        return "".join(path.read_text() for path in sorted((self.state / "logs").glob(f"{app_id}.log")))

    def _records(self, file: str, kind: str | None, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
        with (self.state / f"{file}.jsonl").open() as stream:
            # The last line may be in the making.
            records = [json.loads(line) for line in stream if line.endswith("\n")]
        key = "rpc" if file == "rpc" else "event"
        wanted = {**facts, **({key: kind} if kind else {})}
        return [each for each in records if all(each.get(name) == value for name, value in wanted.items())]


def decode_args(payload: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments and keyword arguments of a recorded input; it is unpickled, so only for a test's own calls."""
    decoded: tuple[tuple[Any, ...], dict[str, Any]] = pickle.loads(base64.b64decode(payload["args"]))
    return decoded


def _flags(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    if isinstance(value, list):
        return [part for item in value for part in (flag, str(item))]
    return [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
