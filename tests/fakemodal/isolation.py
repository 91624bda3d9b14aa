"""Whether and how this machine lets us start containers."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .launcher import Launch

LAUNCHER = Path(__file__).with_name("launcher.py")
# What every container sees of the host, where it is there; all else of the container is its own and writable.
SYSTEM_FOLDERS = ("/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/sbin", "/usr")


def why_not() -> str | None:
    """The reason why no container can be started here, or ``None`` where one can: a trivial one was started."""
    found = _probe()
    return found if isinstance(found, str) else None


def needs_user_namespace() -> bool:
    """Whether containers need a user namespace of their own here; raises where none can be started."""
    found = _probe()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def system_places() -> dict[Path, Path]:
    """The system folders of this machine, each at its own place, links as links."""
    return {folder: folder for folder in map(Path, SYSTEM_FOLDERS) if os.path.lexists(folder)}


def launch_command(specification: Path) -> list[str]:
    """The command that starts the container described in a file."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(specification)]


@functools.cache
def _probe() -> bool | str:
    if sys.platform != "linux":
        return "the fake cloud needs Linux: its containers are made of namespaces"
    reasons = []
    for user_namespace in (False, True):
        refused = refusal(user_namespace)
        if refused is None:
            return user_namespace
        reasons.append(f"{'in a user namespace' if user_namespace else 'directly'}: {refused}")
    return f"no container can be started here ({'; '.join(reasons)})"


def refusal(user_namespace: bool) -> str | None:
    """What a trivial container says when it cannot start."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        launch = Launch(
            user_namespace=user_namespace,
            root=str(root),
            exposed=[(str(real), str(place)) for place, real in system_places().items()],
            hidden=[],
            bound=[],
            folder="/tmp",
            arguments=["/bin/sh", "-c", "test -r /proc/self/status"],
            environment={},
        )
        specification = Path(folder, "launch.json")
        specification.write_text(json.dumps(launch))
        done = subprocess.run(
            launch_command(specification), capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=60
        )
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"exit code {done.returncode}"
