"""``python -m ocrvl_modal.engines.paddleformers.launch COUNT LOGS COMMAND…``: one PaddleFormers for each device.

Paddle's own launcher is not used: it puts each process into a session of its own, where a signal to the engine's
process group misses it, writes the whole environment into its log folder, and closes its ears before the processes
have saved. The variables are those that it sets.
"""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE
from ocrvl_modal.engines.trainer.stopping import StopRequest, exit_with_supervisor

_POLL_S = 0.1
_GRACE_S = 10.0

Child = subprocess.Popen[bytes]


def launch(command: list[str], count: int, logs: Path) -> int:
    """Run ``command`` in ``count`` processes and return the code that all of them together end with.

    The first prints here; each other writes ``process-<rank>.txt`` in ``logs``.
    """
    ports = [_free_port() for _ in range(count + 1)]
    children = [_start(command, rank, ports, logs) for rank in range(count)]
    return _wait(children)


def _start(command: list[str], rank: int, ports: list[int], logs: Path) -> Child:
    master, *own = ports
    endpoints = [f"127.0.0.1:{port}" for port in own]
    variables = {
        "PADDLE_MASTER": f"127.0.0.1:{master}",
        "PADDLE_GLOBAL_SIZE": len(own),
        "PADDLE_LOCAL_SIZE": len(own),
        "PADDLE_GLOBAL_RANK": rank,
        "PADDLE_LOCAL_RANK": rank,
        "PADDLE_NNODES": 1,
        "PADDLE_TRAINER_ID": rank,
        "PADDLE_TRAINERS_NUM": len(own),
        "PADDLE_RANK_IN_NODE": rank,
        "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        **_device(rank),
    }
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    # The supervisor may have handed down an open lock, which the processes must hold as long as they live.
    if rank == 0:
        return subprocess.Popen(command, env=environment, close_fds=False)
    with (logs / f"process-{rank}.txt").open("ab") as log:
        return subprocess.Popen(command, env=environment, close_fds=False, stdout=log, stderr=log)


def _device(rank: int) -> dict[str, object]:
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return {"PADDLE_DISTRI_BACKEND": "gloo"}
    return {"FLAGS_selected_gpus": rank}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(children: list[Child]) -> int:
    """Wait for all, and return the code of the first that ended badly, else of one that was asked to stop.

    Where one has ended the others follow at once, or would wait for it for ever.
    """
    codes: dict[int, int] = {}
    deadline = math.inf
    while len(codes) < len(children) and time.monotonic() < deadline:
        for rank, child in enumerate(children):
            if rank not in codes and child.poll() is not None:
                codes[rank] = child.returncode
        if codes:
            deadline = min(deadline, time.monotonic() + _GRACE_S)
        time.sleep(_POLL_S)
    for rank, child in enumerate(children):
        if rank not in codes:
            child.kill()
            child.wait()
    failures = [code for code in codes.values() if code not in (0, STOPPED_EXIT_CODE)]
    return failures[0] if failures else max(codes.values())


if __name__ == "__main__":
    request = StopRequest()
    request.training = True  # The processes are asked too, by their group, and end in their own time.
    request.install()
    exit_with_supervisor()
    sys.exit(launch(sys.argv[3:], int(sys.argv[1]), Path(sys.argv[2])))
