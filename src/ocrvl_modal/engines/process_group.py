"""How processes of one training find each other: a free port of this machine, and the variables that say who is who."""

from __future__ import annotations

import socket
from collections.abc import Sequence


def free_port() -> int:
    """Return a port of this machine that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def paddle_variables(rank: int, ports: Sequence[int], *, on_gpu: bool) -> dict[str, str]:
    """Return the variables that Paddle's own launcher sets for one process of several on this machine.

    The first of ``ports`` is the master's, the others are the processes' own, in the order of their ranks.
    """
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
        **({"FLAGS_selected_gpus": rank} if on_gpu else {"PADDLE_DISTRI_BACKEND": "gloo"}),
    }
    return {name: str(value) for name, value in variables.items()}
