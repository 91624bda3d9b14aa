"""``python -m ocrvl_modal.engines.paddleformers.launch COUNT LOGS COMMAND…``: one PaddleFormers for each device.

Paddle's own launcher is not used: it puts each process into a session of its own, where a signal to the engine's
process group misses it, writes the whole environment into its log folder, and closes its ears before the processes
have saved. The variables are those that it sets.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE
from ocrvl_modal.engines.process_group import free_port, paddle_variables
from ocrvl_modal.engines.trainer.stopping import StopRequest, exit_with_supervisor

_POLL_S = 0.1
_LAST_LINES = 40
_GRACE_AFTER_END_S = 10.0
_GRACE_AFTER_FAILURE_S = 1.0
_ENDED_WELL = (0, STOPPED_EXIT_CODE)

Child = subprocess.Popen[bytes]


def launch(command: list[str], count: int, logs: Path) -> int:
    """Run ``command`` in ``count`` processes and return the code that all of them together end with.

    The first prints here; each other writes ``process-<rank>.txt`` in ``logs``, whose end is printed where it failed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    ports = [free_port() for _ in range(count + 1)]
    children = [_start(command, rank, ports, logs) for rank in range(count)]
    codes = _wait(children)
    failed = [rank for rank, code in codes.items() if code not in _ENDED_WELL]
    for rank in filter(None, failed):
        print(f"process {rank} ended with code {codes[rank]}; its last lines:")
        print("\n".join(_log(logs, rank).read_text(errors="replace").splitlines()[-_LAST_LINES:]), flush=True)
    return codes[failed[0]] if failed else max(codes.values())


def _log(logs: Path, rank: int) -> Path:
    return logs / f"process-{rank}.txt"


def _start(command: list[str], rank: int, ports: list[int], logs: Path) -> Child:
    on_gpu = os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    environment = {**os.environ, **paddle_variables(rank, ports, on_gpu=on_gpu)}
    # The supervisor may have handed down an open lock, which the processes must hold as long as they live.
    if rank == 0:
        return subprocess.Popen(command, env=environment, close_fds=False)
    with _log(logs, rank).open("ab") as log:
        return subprocess.Popen(command, env=environment, close_fds=False, stdout=log, stderr=log)


def _wait(children: list[Child]) -> dict[int, int]:
    """Wait for all, and return the codes of those that ended by themselves, the first to end first.

    Where one has ended the others follow at once, or would wait for it for ever.
    """
    codes: dict[int, int] = {}
    deadline = math.inf
    while len(codes) < len(children) and time.monotonic() < deadline:
        for rank, child in enumerate(children):
            if rank not in codes and child.poll() is not None:
                codes[rank] = child.returncode
        if codes:
            well = all(code in _ENDED_WELL for code in codes.values())
            deadline = min(deadline, time.monotonic() + (_GRACE_AFTER_END_S if well else _GRACE_AFTER_FAILURE_S))
        time.sleep(_POLL_S)
    for rank, child in enumerate(children):
        if rank not in codes:
            child.kill()
            child.wait()
    return codes


if __name__ == "__main__":
    request = StopRequest()
    request.training = True  # The processes are asked too, by their group, and end in their own time.
    request.install()
    exit_with_supervisor()
    sys.exit(launch(sys.argv[3:], int(sys.argv[1]), Path(sys.argv[2])))
