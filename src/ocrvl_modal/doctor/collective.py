"""Adding up a vector over several processes, one a device: ``python -m ocrvl_modal.doctor.collective FRAMEWORK …``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal.engines.process_group import free_port, paddle_variables

_ITSELF = "ocrvl_modal.doctor.collective"
_NUMBERS = 16 << 20
_ROUNDS = 5
_BYTES_PER_NUMBER = 4
_PATIENCE_S = 180.0
_POLL_S = 0.05
_GRACE_S = 5.0
_LAST_LINES = 5


@dataclass(frozen=True)
class Added:
    """How it went: what was wrong, or how fast the slowest sum was, in gigabytes of the vector a second."""

    problem: str = ""
    gb_per_s: float | None = None


def add_up(framework: str, count: int, device: str, scratch: Path) -> Added:
    """Have ``count`` processes add up their numbers, each on a device of its own kind (``gpu`` or ``cpu``)."""
    ports = [free_port() for _ in range(count + 1)]
    children = [_start(framework, rank, ports, device, scratch) for rank in range(count)]
    try:
        codes = _wait(children)
    finally:
        for child in children:
            child.kill()
            child.wait()
    broken = [rank for rank, code in enumerate(codes) if code != 0]
    # The first to fail says why; the others may just have waited for it.
    failed = [rank for rank in broken if codes[rank] is not None] or broken
    if failed:
        lines = [line for line in _log(scratch, failed[0]).read_text(errors="replace").splitlines() if line.strip()]
        print("\n".join(lines[-_LAST_LINES:]), flush=True)
        how = "did not end" if codes[failed[0]] is None else f"ended with exit code {codes[failed[0]]}"
        return Added(f"process {failed[0]} of {count} {how}: {lines[-1].strip() if lines else 'it printed nothing'}")
    speeds = [json.loads((_result(scratch, rank)).read_text())["gb_per_s"] for rank in range(count)]
    return Added(gb_per_s=min(speeds))


def work(framework: str, device: str, result: Path) -> None:
    """Be one of the processes: add up with the others, check the sum, and write down how fast it was."""
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    add = (_with_paddle if framework == "paddle" else _with_torch)(device, rank)
    expected = count * (count + 1) / 2
    total = add()
    if total != (expected, expected):
        raise SystemExit(f"the sum over {count} processes is {total}, and {expected} would be right")
    began = time.monotonic()
    for _ in range(_ROUNDS):
        add()
    seconds = max(time.monotonic() - began, 1e-9) / _ROUNDS
    result.write_text(json.dumps({"gb_per_s": round(_NUMBERS * _BYTES_PER_NUMBER / seconds / 1e9, 2)}))
    _stay_for_the_others(result.parent, count)


def _stay_for_the_others(scratch: Path, count: int) -> None:
    """Wait until all have written theirs: one that goes takes its end of the connections with it."""
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline and not all(_result(scratch, rank).exists() for rank in range(count)):
        time.sleep(_POLL_S)


Add = Callable[[], "tuple[float, float]"]


def _with_torch(device: str, rank: int) -> Add:
    """Return a function that adds up ``rank + 1`` of all processes, and returns the sum's first and last number."""
    import torch
    from torch import distributed

    if device == "gpu":
        torch.cuda.set_device(rank)
    distributed.init_process_group("nccl" if device == "gpu" else "gloo")
    where = "cuda" if device == "gpu" else "cpu"

    def add() -> tuple[float, float]:
        numbers = torch.full((_NUMBERS,), float(rank + 1), device=where)
        distributed.all_reduce(numbers)
        return float(numbers[0]), float(numbers[-1])

    return add


def _with_paddle(device: str, rank: int) -> Add:
    """Return the same with Paddle."""
    import paddle
    from paddle import distributed

    paddle.set_device(f"gpu:{rank}" if device == "gpu" else "cpu")
    distributed.init_parallel_env()

    def add() -> tuple[float, float]:
        numbers: Any = paddle.full([_NUMBERS], float(rank + 1))
        distributed.all_reduce(numbers)
        return float(numbers[0]), float(numbers[-1])

    return add


def _start(framework: str, rank: int, ports: list[int], device: str, scratch: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", _ITSELF, framework, device, str(_result(scratch, rank))]
    with _log(scratch, rank).open("wb") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, **_variables(rank, ports, device)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _variables(rank: int, ports: list[int], device: str) -> dict[str, str]:
    """Return what tells a process who it is: torch's variables, and those of Paddle's own launcher."""
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports[0], "RANK": rank, "WORLD_SIZE": len(ports) - 1}
    of_torch = {name: str(value) for name, value in variables.items()}
    return {**of_torch, **paddle_variables(rank, ports, on_gpu=device == "gpu")}


def _wait(children: list[subprocess.Popen[bytes]]) -> list[int | None]:
    """Return the exit codes; where one process fails the others have a moment to end by themselves."""
    deadline = time.monotonic() + _PATIENCE_S
    hurried = False
    while time.monotonic() < deadline and any(child.poll() is None for child in children):
        if not hurried and any(child.poll() for child in children):
            hurried, deadline = True, time.monotonic() + _GRACE_S
        time.sleep(_POLL_S)
    return [child.poll() for child in children]


def _log(scratch: Path, rank: int) -> Path:
    return scratch / f"process-{rank}.txt"


def _result(scratch: Path, rank: int) -> Path:
    return scratch / f"process-{rank}.json"


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    # Threads of the libraries may still run, and abort an interpreter that ends in the ordinary way.
    os._exit(0)
