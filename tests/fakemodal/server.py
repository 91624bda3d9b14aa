"""The gRPC server: recording, tokens, faults of RPCs, and replies to requests that are sent twice."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
import traceback
from collections.abc import Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from grpclib.server import Server
from modal_proto import api_grpc, api_pb2

from .cloud import Cloud, as_json, missing
from .containers import Container
from .describe import describe
from .http import HttpServer
from .options import Options
from .rootfs import TASK_HEADER
from .rpcs import Answer, all_answers
from .scheduling import Scheduler
from .upkeep import keep_up

_WITHOUT_TOKEN = ("ClientHello", "CliCommandSuggest")


async def serve(options: Options, ready: Callable[[str, str], None]) -> None:
    """Serve until cancelled; ``ready`` is called with the addresses of the gRPC and the HTTP server."""
    cloud = Cloud(options)
    scheduler = Scheduler(cloud)
    http = HttpServer(cloud.store, lambda: describe(cloud, scheduler))
    await http.start()
    server = Server([_servicer(cloud, scheduler)])
    await server.start("127.0.0.1", options.port)
    cloud.url = f"http://127.0.0.1:{_port(server)}"
    ready(cloud.url, cloud.store.url)
    try:
        await keep_up(scheduler)
    finally:
        await scheduler.close()
        server.close()
        await http.stop()
        cloud.close()


def _port(server: Server) -> int:
    listening: Any = server._server
    port: int = listening.sockets[0].getsockname()[1]
    return port


def _servicer(cloud: Cloud, scheduler: Scheduler) -> Any:
    """An object with a handler for each RPC of the Modal API, answered or not."""
    answers = all_answers(cloud, scheduler)
    numbers = itertools.count(1)
    names = [method.name for method in api_pb2.DESCRIPTOR.services_by_name["ModalClient"].methods]
    handlers = {name: _handler(cloud, scheduler, name, answers.get(name), numbers) for name in names}
    return type("Servicer", (api_grpc.ModalClientBase,), handlers)()


def _handler(
    cloud: Cloud, scheduler: Scheduler, name: str, answer: Answer | None, numbers: itertools.count[int]
) -> Callable[[Any, Any], Any]:
    replies: dict[str, Message] = {}  # by idempotency key: of requests whose reply may have been lost

    async def handle(_: Any, stream: Any) -> None:
        request, metadata, started = await stream.recv_message(), stream.metadata, time.time()
        container = scheduler.containers.get(metadata.get(TASK_HEADER, ""))
        record = {
            "n": next(numbers),
            "time": started,
            "rpc": name,
            "task": container.id if container else "",
            "attempt": metadata.get("x-retry-attempt", ""),
            "req": as_json(request),
            "status": "OK",
        }
        try:
            await _strike(cloud, name, "before")
            _admit(cloud, name, container, metadata)
            if answer is None:
                cloud.unimplemented[name] += 1
                raise GRPCError(Status.UNIMPLEMENTED, f"fakemodal does not implement {name}")
            if inspect.isasyncgenfunction(answer):
                async for reply in answer(request, container):
                    await stream.send_message(reply)
                return
            key = metadata.get("x-idempotency-key", "")
            reply = replies.get(key)
            if reply is None:
                reply = await _reply(answer, request, container)
                if key:
                    replies[key] = reply
            record["resp"] = as_json(reply)
            await _strike(cloud, name, "after")
            await stream.send_message(reply)
        except (asyncio.CancelledError, ConnectionError):
            record["status"] = "CANCELLED"
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must hear of it
            refusal = _refusal(name, error)
            record["status"] = refusal.status.name
            record["error"] = refusal.message if refusal.status != Status.INTERNAL else traceback.format_exc()
            raise refusal from None
        finally:
            record["seconds"] = round(time.time() - started, 4)
            cloud.record_rpc(record)

    return handle


async def _reply(answer: Answer, request: Message, container: Container | None) -> Message:
    reply = answer(request, container)
    if inspect.isawaitable(reply):
        reply = await reply
    return Empty() if reply is None else reply


def _admit(cloud: Cloud, name: str, container: Container | None, metadata: Any) -> None:
    """Refuse clients without the token, and what a killed container had under way."""
    if container:
        if container.killed:
            raise GRPCError(Status.UNAVAILABLE, f"{container.id} was killed")
        return
    given = (metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret"))
    if name not in _WITHOUT_TOKEN and given != (cloud.options.token_id, cloud.options.token_secret):
        raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or the token is unknown")


async def _strike(cloud: Cloud, name: str, phase: str) -> None:
    """Apply the fault rule for this RPC, if one fires."""
    rule = cloud.faults.match("rpc", rpc=name, phase=phase)
    if rule is None:
        return
    await asyncio.sleep(rule.get("seconds", 0))
    if rule.get("action", "error") == "error":
        status = Status[rule.get("status", "UNAVAILABLE")]
        raise GRPCError(status, rule.get("message", f"injected {status.name}"))


def _refusal(name: str, error: Exception) -> GRPCError:
    if isinstance(error, GRPCError):
        return error
    if isinstance(error, FileNotFoundError):
        return missing(f"File not found: {error}")
    return GRPCError(Status.INTERNAL, f"fakemodal bug in {name}: {error!r}")
