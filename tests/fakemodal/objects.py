"""What the cloud keeps in memory: apps, functions, calls, images and secrets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modal_proto import api_pb2 as api

if TYPE_CHECKING:
    from .containers import Container

STDOUT, STDERR = api.FILE_DESCRIPTOR_STDOUT, api.FILE_DESCRIPTOR_STDERR


@dataclass(frozen=True)
class LogLine:
    """One line that a container, an image build or the system wrote."""

    number: int
    time: float
    descriptor: api.FileDescriptor.ValueType
    text: str
    container: str = ""
    function: str = ""
    variant: str = ""
    input: str = ""
    call: str = ""


@dataclass
class App:
    id: str
    name: str
    state: api.AppState.ValueType
    created_with: api.AppState.ValueType
    tags: dict[str, str]
    created_at: float = field(default_factory=time.time)
    deployed_name: str = ""
    deployed_at: float = 0.0
    stopped_at: float = 0.0
    version: int = 0
    disconnect: str = ""
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.heartbeat_at = self.busy_at = self.created_at


@dataclass
class Function:
    """A function, or with ``base`` a variant of one that got options or class parameters."""

    id: str
    app_id: str
    name: str
    definition: api.Function
    base: str = ""
    parameters: bytes = b""
    metadata: api.FunctionHandleMetadata | None = None


@dataclass
class Call:
    id: str
    function_id: str
    app_id: str
    invocation: api.FunctionCallInvocationType.ValueType
    created_at: float = field(default_factory=time.time)
    inputs: list[Input] = field(default_factory=list)
    outputs: list[api.FunctionGetOutputsItem] = field(default_factory=list)  # in order of completion
    chunks: list[api.DataChunk] = field(default_factory=list)  # what a generator yielded
    cancelled: bool = False


@dataclass
class Input:
    id: str
    call: Call
    index: int
    payload: api.FunctionInput
    status: str = "queued"  # queued, running, done
    retry_count: int = 0
    attempts: int = 0
    ready_at: float = 0.0
    started_at: float = 0.0
    container: Container | None = None
    result: api.GenericResult | None = None


@dataclass
class Image:
    id: str
    definition: api.Image
    builder_task: str
    started_at: float
    failure: dict[str, Any] | None  # the fault rule that made the build fail
    finished_at: float = 0.0


@dataclass
class Secret:
    name: str
    environment: dict[str, str]
    created_at: float = field(default_factory=time.time)
