"""The HTTP side: where clients put and get what is too big for an RPC, and the state as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from aiohttp import web

from .store import Store


class HttpServer:
    """Serves a store on 127.0.0.1, and ``describe()`` under ``/_state``."""

    def __init__(self, store: Store, describe: Callable[[], dict[str, Any]]) -> None:
        self._store, self._describe = store, describe
        app = web.Application(client_max_size=1 << 40)
        app.add_routes(
            [
                web.put("/blob/{id}", self._put_blob),
                web.get("/blob/{id}", self._get_blob),
                web.put("/block/{digest}", self._put_block),
                web.get("/reading/{id}", self._get_range),
                web.get("/_state", self._get_state),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._store.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _put_blob(self, request: web.Request) -> web.Response:
        digest = hashlib.md5()
        with self._store.blob(request.match_info["id"]).open("wb") as file:
            async for chunk in request.content.iter_chunked(1 << 20):
                digest.update(chunk)
                file.write(chunk)
        return web.Response(headers={"ETag": f'"{digest.hexdigest()}"'})

    async def _get_blob(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._store.blob(request.match_info["id"]))

    async def _put_block(self, request: web.Request) -> web.Response:
        data = await request.read()
        if hashlib.sha256(data).hexdigest() != request.match_info["digest"]:
            return web.Response(status=400, text="the block does not have that digest")
        self._store.add(data)
        return web.Response(body=b"stored")

    async def _get_range(self, request: web.Request) -> web.Response:
        with self._store.reading(request.match_info["id"]).open("rb") as file:
            file.seek(int(request.query["start"]))
            return web.Response(body=file.read(int(request.query["length"])))

    async def _get_state(self, _: web.Request) -> web.Response:
        return web.json_response(self._describe())
