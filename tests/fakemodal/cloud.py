"""The state that all parts of the fake cloud share, and its journals."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as api

from .faults import Faults
from .objects import App, Call, Function, Image, Input, LogLine, Secret
from .options import Options
from .store import Store

LOGGED_CHARACTERS = 1 << 16  # longer strings of a recorded message are cut
Item = TypeVar("Item")


def missing(what: str) -> GRPCError:
    """The error that the client turns into ``NotFoundError``."""
    return GRPCError(Status.NOT_FOUND, what)


def as_json(message: Message) -> Any:
    """A message as recorded: the field names of its definition, bytes in base64, long strings cut."""
    return _cut(MessageToDict(message, preserving_proto_field_name=True))


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if isinstance(value, str) and len(value) > LOGGED_CHARACTERS:
        return f"{value[:LOGGED_CHARACTERS]}...({len(value)} characters)"
    return value


class Cloud:
    """Objects by their id, named objects by kind and name, and what is written down about them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.url = ""  # of the gRPC server, once it listens
        self.store = Store(options.state)
        self.faults = Faults(options.state / "faults.json")
        self.apps: dict[str, App] = {}
        self.deployed: dict[str, str] = {}  # name of a deployed app -> its id
        self.functions: dict[str, Function] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}
        self.images: dict[str, Image] = {}
        self.mounts: dict[str, list[api.MountFile]] = {}
        self.secrets: dict[str, Secret] = {}
        self.names: dict[tuple[str, str], str] = {}  # (kind, name) -> id
        self.unimplemented: Counter[str] = Counter()
        self.numbers = itertools.count(1)
        self._rpcs = (options.state / "rpc.jsonl").open("a", buffering=1)
        self._events = (options.state / "events.jsonl").open("a", buffering=1)
        self._logs = options.state / "logs"
        self._logs.mkdir(exist_ok=True)
        for name, environment in options.secrets.items():
            self.names["Secret", name] = self.add_secret(name, environment)
        # Image builds log to an app of the platform's own, which nobody lists.
        stopped = api.APP_STATE_STOPPED
        self.builder = App(self.new_id("ap"), "image builder", stopped, stopped, {})

    def close(self) -> None:
        self._rpcs.close()
        self._events.close()

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{next(self.numbers):022d}"

    def record_rpc(self, record: Mapping[str, Any]) -> None:
        self._rpcs.write(json.dumps(record) + "\n")

    def event(self, kind: str, **facts: Any) -> None:
        self._events.write(json.dumps({"time": time.time(), "event": kind, **facts}) + "\n")

    def log(self, app: App, text: str, descriptor: api.FileDescriptor.ValueType, **context: str) -> None:
        """Write a line to an app's log; ``context`` says where it comes from, see ``LogLine``."""
        app.logs.append(LogLine(len(app.logs) + 1, time.time(), descriptor, text, **context))
        with (self._logs / f"{app.id}.log").open("a") as file:
            file.write(text)

    def find(self, table: Mapping[str, Item], object_id: str) -> Item:
        try:
            return table[object_id]
        except KeyError:
            raise missing(f"Object {object_id} not found") from None

    def check_environment(self, name: str) -> None:
        if name not in ("", self.options.environment):
            raise missing(f"Environment '{name}' not found")

    def named(self, kind: str, request: Any, make: Callable[[str], str]) -> str:
        """Find or make a named object, the way the request's ``object_creation_type`` asks for."""
        how = request.object_creation_type
        if how in (api.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, api.OBJECT_CREATION_TYPE_EPHEMERAL):
            return make("")
        self.check_environment(getattr(request, "environment_name", ""))
        key = (kind, request.deployment_name)
        if key not in self.names and how == api.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise missing(f"{kind} '{key[1]}' not found in environment '{self.options.environment}'")
        if key in self.names and how == api.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"{kind} '{key[1]}' already exists")
        if key not in self.names or how == api.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
            self.names[key] = make(request.deployment_name)
        return self.names[key]

    def rename(self, kind: str, object_id: str, name: str) -> None:
        self.forget(kind, object_id)
        self.names[kind, name] = object_id

    def forget(self, kind: str, object_id: str) -> None:
        self.names = {key: found for key, found in self.names.items() if (key[0], found) != (kind, object_id)}

    def add_secret(self, name: str, environment: Mapping[str, str]) -> str:
        secret_id = self.new_id("st")
        self.secrets[secret_id] = Secret(name, dict(environment))
        return secret_id

    def image_layers(self, image_id: str) -> list[api.Image]:
        """The layers of an image, the lowest first."""
        if image_id not in self.images:
            return []
        definition = self.images[image_id].definition
        below = [layer for base in definition.base_images for layer in self.image_layers(base.image_id)]
        return [*below, definition]
