"""``python -m fakemodal --state FOLDER``: run the server until it is told to end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial

from .options import Options, parse_options
from .server import serve


def main() -> None:
    options = parse_options()
    with suppress(asyncio.CancelledError):
        asyncio.run(_run(options))


async def _run(options: Options) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(serve(options, partial(_say_ready, options)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    if options.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), task.cancel)
    await task


def _say_ready(options: Options, server_url: str, http_url: str) -> None:
    text = json.dumps(
        {
            "server_url": server_url,
            "http_url": http_url,
            "pid": os.getpid(),
            "env": {
                "MODAL_SERVER_URL": server_url,
                "MODAL_TOKEN_ID": options.token_id,
                "MODAL_TOKEN_SECRET": options.token_secret,
                # No such file: nobody's own settings are read.
                "MODAL_CONFIG_PATH": str(options.state / "no-config.toml"),
                # Keeps gRPC and file transfers off a proxy.
                "MODAL_DISABLE_API_PROXY": "1",
                "NO_PROXY": "127.0.0.1,localhost",
                "no_proxy": "127.0.0.1,localhost",
            },
        }
    )
    print(text, flush=True)
    if options.port_file:
        beside = options.port_file.with_name(f".{options.port_file.name}")
        beside.write_text(text)
        beside.replace(options.port_file)


if __name__ == "__main__":
    main()
