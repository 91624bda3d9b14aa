"""A container: the real Modal entrypoint in a process tree of its own."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modal_proto import api_pb2 as api

from .cloud import Cloud
from .isolation import launch_command
from .objects import STDERR, STDOUT, Function, Input
from .rootfs import RootFolder, mount_volumes

if TYPE_CHECKING:
    from .volumes import MountedVolume

_LONGEST_LINE_BYTES = 1 << 13
_NOT_STARTED = 255


class Container:
    """One container of a function, from its start to its end."""

    def __init__(self, cloud: Cloud, function: Function) -> None:
        self.cloud, self.function, self.definition = cloud, function, function.definition
        self.id = cloud.new_id("ta")
        self.folder = cloud.options.state / "containers" / self.id
        self.volumes: dict[str, MountedVolume] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.current: dict[str, Input] = {}
        self.last: Input | None = None  # the input that log lines are ascribed to
        self.to_cancel: list[str] = []  # input ids, told with the next heartbeat
        self.enqueued_at = self.idle_since = self.committed_at = time.time()
        self.started_at = self.finished_at = 0.0
        self.asked = False  # it has imported its function and asked for an input
        self.stopping = False  # it gets no more inputs
        self.killed = False  # nothing that it says counts any more
        self.stop_reason = ""

    @property
    def alive(self) -> bool:
        return not self.finished_at

    @property
    def slots(self) -> int:
        """Number of inputs that it could take now."""
        used_up = self.definition.single_use_containers and self.last is not None
        if self.stopping or used_up:
            return 0
        return max(1, self.definition.max_concurrent_inputs) - len(self.current)

    @property
    def idle_timeout_s(self) -> float:
        longest = self.cloud.options.idle_timeout
        return min(self.definition.autoscaler_settings.scaledown_window or longest, longest)

    async def run(self, layout: api.AppLayout) -> int:
        """Run to the end; returns the exit code of the entrypoint, 128 and more for a signal."""
        try:
            specification = await asyncio.to_thread(self._prepare, layout)
            code = _NOT_STARTED if self.stop_reason else await self._run_process(specification)
        except Exception as error:  # noqa: BLE001 - else the container would seem to run for ever
            self._log(f"fakemodal: the container could not start: {error!r}\n", STDERR)
            code = _NOT_STARTED
        self.finished_at = time.time()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
        return code

    def kill(self, reason: str) -> None:
        """End all its processes at once."""
        self.stopping = self.killed = True
        self.stop_reason = self.stop_reason or reason
        self._signal(signal.SIGTERM)  # which the launcher takes for that

    def interrupt(self, reason: str, grace_s: float) -> None:
        """SIGINT to the entrypoint, so that exit hooks and a last commit run; after the grace everything is killed."""
        self.stopping = True
        if self.stop_reason:  # it is ending already: a second SIGINT would break off what it saves
            return
        self.stop_reason = reason
        self._signal(signal.SIGINT)
        asyncio.get_running_loop().call_later(grace_s, self.kill, reason)

    def _signal(self, number: signal.Signals) -> None:
        if self.process and self.process.returncode is None:
            self.process.send_signal(number)

    def _prepare(self, layout: api.AppLayout) -> Path:
        options = self.cloud.options
        self.folder.mkdir(parents=True)
        views = self.folder / "volumes"
        self.volumes = mount_volumes(self.definition, self.cloud.store, views, options.live_volumes)
        root = RootFolder(self.folder / "root", self.cloud, self.function, self.id)
        specification = self.folder / "launch.json"
        specification.write_text(json.dumps(root.launch(self.volumes, layout)))
        return specification

    async def _run_process(self, specification: Path) -> int:
        self.process = await asyncio.create_subprocess_exec(
            *launch_command(specification),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.started_at = self.committed_at = time.time()
        assert self.process.stdout and self.process.stderr
        await asyncio.gather(self._follow(self.process.stdout, STDOUT), self._follow(self.process.stderr, STDERR))
        return await self.process.wait()

    async def _follow(self, stream: asyncio.StreamReader, descriptor: api.FileDescriptor.ValueType) -> None:
        rest = b""
        while chunk := await stream.read(1 << 16):
            *lines, rest = re.split(rb"(?<=[\n\r])", rest + chunk)
            if len(rest) > _LONGEST_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._log(line.decode(errors="replace"), descriptor)
        if rest:
            self._log(rest.decode(errors="replace"), descriptor)

    def _log(self, text: str, descriptor: api.FileDescriptor.ValueType) -> None:
        self.cloud.log(
            self.cloud.apps[self.function.app_id],
            text,
            descriptor,
            container=self.id,
            function=self.function.base or self.function.id,
            variant=self.function.id,
            input=self.last.id if self.last else "",
            call=self.last.call.id if self.last else "",
        )
