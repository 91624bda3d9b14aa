"""The options of the server, from its command line."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .isolation import needs_user_namespace, system_places

_DESCRIBE = Path(__file__).with_name("describe_python.py")


@dataclass(frozen=True)
class Options:
    """Seconds throughout; see the help of each option in ``_parser``."""

    state: Path
    port: int
    port_file: Path | None
    until_stdin_closes: bool
    token_id: str
    token_secret: str
    environment: str
    builder_version: str
    container_python: str
    python_version: str
    container_env: Mapping[str, str]
    exposed: Sequence[tuple[str, str]]  # (host path, path in containers)
    hidden: Sequence[str]  # host paths
    user_namespace: bool
    max_containers: int
    start_attempts: int
    idle_timeout: float
    heartbeat_timeout: float
    background_commit: float
    live_volumes: bool
    retry_delay_scale: float
    secrets: Mapping[str, Mapping[str, str]]


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line and look at the Python that the containers will run."""
    given = vars(_parser().parse_args(arguments))
    without, expose = given.pop("without"), given.pop("expose")
    python = _describe_python(given["container_python"], without)
    given["state"] = given["state"].resolve()
    given["state"].mkdir(parents=True, exist_ok=True)
    given["container_env"] = dict(pair.split("=", 1) for pair in given["container_env"])
    given["user_namespace"] = given["user_namespace"] or needs_user_namespace()
    return Options(
        **given,
        python_version=python["version"],
        exposed=_outermost({**system_places(), **_at_home([*python["prefixes"], *expose])}),
        hidden=python["files"],
    )


def _describe_python(python: str, without: Sequence[str]) -> dict[str, Any]:
    command = [python, "-c", _DESCRIBE.read_text(), *without]
    described: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return described


def _at_home(paths: Iterable[str]) -> dict[Path, Path]:
    """Each path at its own place, and at the place that it is a link to."""
    places: dict[Path, Path] = {}
    for path in paths:
        places |= {place: Path(path).resolve() for place in (Path(path).absolute(), Path(path).resolve())}
    return places


def _outermost(places: Mapping[Path, Path]) -> list[tuple[str, str]]:
    """Without what is inside another place, and so seen already."""
    return [(str(real), str(place)) for place, real in places.items() if not places.keys() & set(place.parents)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fakemodal", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--state", type=Path, required=True, help="folder for records, volumes, containers and faults.json")
    add("--port", type=int, default=0, help="gRPC port on 127.0.0.1; 0 is any free one")
    add("--port-file", type=Path, help="JSON written when the server is ready: its addresses, its clients' environment")
    add("--until-stdin-closes", action="store_true", help="end with standard input, as when the caller dies")
    add("--token-id", default="ak-fake", help="the token that clients must have")
    add("--token-secret", default="as-fake", help="its secret")
    add("--environment", default="main", help="name of the only environment")
    add("--builder-version", default="2025.06", help="image builder version of the environment")
    add("--container-python", default=sys.executable, help="interpreter in containers; must have modal")
    add("--container-env", action="append", default=[], metavar="K=V", help="PATH and PYTHONPATH go in front")
    add("--without", action="append", default=[], metavar="NAME", help="distribution that containers do not have")
    add("--expose", action="append", default=[], metavar="PATH", help="host path that containers see, read-only")
    add("--user-namespace", action="store_true", help="give containers one even where they need none")
    add("--max-containers", type=int, default=4, help="upper limit for each function")
    add("--start-attempts", type=int, default=2, help="containers that may fail at their start before a call fails")
    add("--idle-timeout", type=float, default=5.0, help="how long idle containers and detached apps stay at most")
    add("--heartbeat-timeout", type=float, default=60.0, help="an app whose client is silent that long is left")
    add("--background-commit", type=float, default=5.0, help="time between background commits of volumes")
    add("--live-volumes", action="store_true", help="containers share the committed files: no commit, no reload")
    add("--retry-delay-scale", type=float, default=1.0, help="multiplies the delays of retry policies")
    add("--secrets", type=json.loads, default={}, metavar="JSON", help='{"name": {"KEY": "value"}}')
    return parser
