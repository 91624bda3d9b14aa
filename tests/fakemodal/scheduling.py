"""Which input runs when and where: queues, containers, results, retries, and the faults of inputs."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine
from typing import Any

from modal_proto import api_pb2 as api

from .cloud import Cloud, missing
from .containers import Container
from .faults import Rule
from .layout import app_layout
from .objects import App, Call, Function, Input

Result = api.GenericResult
POLL_S = 0.03
INTERRUPT_GRACE_S = 10.0
_INTERNAL_ATTEMPTS = 8  # after so many the platform's own failures are told to the caller
_FAILURES = {
    "fail": Result.GENERIC_STATUS_FAILURE,
    "timeout": Result.GENERIC_STATUS_TIMEOUT,
    "oom": Result.GENERIC_STATUS_KERNEL_OOM_KILL,
    "internal": Result.GENERIC_STATUS_INTERNAL_FAILURE,
}


def failed(text: str, status: Result.GenericStatus.ValueType = Result.GENERIC_STATUS_FAILURE) -> api.GenericResult:
    return Result(status=status, exception=text)


class Scheduler:
    """Inputs wait in a queue for each function; containers are started for them and fetch them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.containers: dict[str, Container] = {}
        self._queues: defaultdict[str, list[Input]] = defaultdict(list)
        self._failed_starts: Counter[str] = Counter()
        self._runs: set[asyncio.Task[None]] = set()  # of containers
        self._faults: set[asyncio.Task[None]] = set()  # that strike later
        self._closing = False

    # What the rest of the cloud asks

    def containers_of(self, function: Function) -> list[Container]:
        return [found for found in self.containers.values() if found.function is function and found.alive]

    def waiting(self, function: Function) -> list[Input]:
        """Inputs that may start now."""
        now = time.time()
        return [waits for waits in self._queues[function.id] if waits.ready_at <= now]

    def has_queue(self, function: Function) -> bool:
        return bool(self._queues[function.id])

    def function_of(self, call: Call) -> Function:
        return self.cloud.functions[call.function_id]

    def is_busy(self, app: App) -> bool:
        """Whether an app has unfinished inputs or living containers."""
        calls = [call for call in self.cloud.calls.values() if call.app_id == app.id]
        return any(waits.status != "done" for call in calls for waits in call.inputs) or self.has_containers(app)

    def has_containers(self, app: App) -> bool:
        return any(found.function.app_id == app.id and found.alive for found in self.containers.values())

    # Inputs come in

    def submit(self, new: Input) -> None:
        function = self.function_of(new.call)
        self.cloud.inputs[new.id] = new
        new.call.inputs.append(new)
        if rule := self.cloud.faults.match("enqueue", function=function.name):
            new.ready_at = time.time() + rule.get("seconds", 1)
        self._queue(new, function)

    def _queue(self, waits: Input, function: Function) -> None:
        self._queues[function.id].append(waits)
        self.start_containers(function)

    def start_containers(self, function: Function) -> None:
        """Start containers as long as inputs wait and neither a slot is free nor the limit reached."""
        if self._closing or self.cloud.apps[function.app_id].state == api.APP_STATE_STOPPED:
            return
        definition = function.definition
        asked = definition.autoscaler_settings.max_containers or definition.concurrency_limit
        limit = min(asked or self.cloud.options.max_containers, self.cloud.options.max_containers)
        alive = self.containers_of(function)
        slots = sum(container.slots for container in alive)
        while len(self.waiting(function)) > slots and len(alive) < limit:
            container = Container(self.cloud, function)
            self.containers[container.id] = container
            alive.append(container)
            slots += container.slots
            self.cloud.event("container_start", task=container.id, function=function.name)
            _keep(self._runs, self._run(container))

    # Containers run

    async def _run(self, container: Container) -> None:
        function = container.function
        code = await container.run(app_layout(self.cloud, self.cloud.apps[function.app_id], function.definition))
        reason = container.stop_reason
        self.cloud.event("container_exit", task=container.id, function=function.name, code=code, reason=reason)
        for lost in list(container.current.values()):
            del container.current[lost.id]
            if reason == "preempt":
                self._requeue(lost)
            else:
                self.finish(lost, failed(f"Runner failed with exit code: {code}"))
        if code != 0 and not reason and not container.asked:
            self._start_failed(function, failed(f"Runner failed with exit code: {code} before it took an input"))
        if reason != "app_stopped":
            self.start_containers(function)

    def start_failed(self, container: Container, result: api.GenericResult) -> None:
        """A container told why it cannot run its function: it is restarted a few times, then the inputs fail."""
        container.stopping, container.stop_reason = True, container.stop_reason or "init_failure"
        function = container.function
        self.cloud.event("init_failure", task=container.id, function=function.name, exception=result.exception)
        result.status = Result.GENERIC_STATUS_INIT_FAILURE
        self._start_failed(function, result)

    def _start_failed(self, function: Function, result: api.GenericResult) -> None:
        self._failed_starts[function.id] += 1
        if self._failed_starts[function.id] >= self.cloud.options.start_attempts:
            self._failed_starts[function.id] = 0
            for waits in list(self._queues[function.id]):
                self.finish(waits, result, retry=False)

    async def next_inputs(self, container: Container, limit: int) -> list[Input]:
        """Wait for a container's next inputs; none when it has to end."""
        container.asked = True
        self._failed_starts[container.function.id] = 0
        while not container.stopping:
            taken = self.waiting(container.function)[: max(1, limit)]
            for each in taken:
                self._assign(each, container)
            kept = [each for each in taken if not self._hurt(each, container)]
            if kept:
                return kept
            idle_s = time.time() - container.idle_since
            if not taken and not container.current and idle_s > container.idle_timeout_s:
                break
            await asyncio.sleep(POLL_S)
        container.stopping = True
        return []

    def _assign(self, taken: Input, container: Container) -> None:
        function = container.function
        self._queues[function.id].remove(taken)
        taken.status, taken.started_at, taken.container = "running", time.time(), container
        taken.attempts += 1
        container.current[taken.id] = container.last = taken
        self.cloud.event(
            "attempt",
            function=function.name,
            input=taken.id,
            call=taken.call.id,
            idx=taken.index,
            task=container.id,
            retry_count=taken.retry_count,
            attempt=taken.attempts,
        )

    # Faults of inputs

    def _hurt(self, victim: Input, container: Container) -> bool:
        """Apply the fault rule for this attempt; true when the input must not reach the container."""
        rule = self.cloud.faults.match("input", function=container.function.name)
        if rule is None:
            return False
        self.cloud.event("fault", **rule, input=victim.id, task=container.id)
        if rule["action"] == "delay_output":
            victim.ready_at = time.time() + rule.get("seconds", 1)
        elif rule["action"] in _FAILURES and not rule.get("after"):
            self.finish(victim, _failure(rule))
            return True
        else:
            _keep(self._faults, self._hurt_later(victim, container, rule))
        return False

    def hurt_running(self, container: Container) -> None:
        """Apply the fault rules for what runs at this moment."""
        for victim in list(container.current.values()):
            rule = self.cloud.faults.match("running", function=container.function.name)
            if rule is not None:
                self.cloud.event("fault", **rule, input=victim.id, task=container.id)
                _keep(self._faults, self._hurt_later(victim, container, rule))

    async def _hurt_later(self, victim: Input, container: Container, rule: Rule) -> None:
        action = rule["action"]
        await asyncio.sleep(rule.get("after", 0.0))
        if victim.container is not container or victim.status != "running":
            return
        if action == "preempt":
            container.interrupt("preempt", rule.get("grace", INTERRUPT_GRACE_S))
            return
        container.kill(action)
        if action in _FAILURES:
            self.finish(victim, _failure(rule))

    # Inputs end

    def finish(
        self,
        ended: Input,
        result: api.GenericResult,
        data_format: api.DataFormat.ValueType = api.DATA_FORMAT_PICKLE,
        retry: bool = True,
    ) -> None:
        """An attempt ended; whether another follows is up to the function's retry policy."""
        if ended.status == "done":
            return
        function = self.function_of(ended.call)
        if ended.container:
            ended.container.current.pop(ended.id, None)
            ended.container.idle_since = time.time()
        if ended in self._queues[function.id]:
            self._queues[function.id].remove(ended)
        if retry and not ended.call.cancelled and self._retry(ended, result, function):
            return
        self._deliver(ended, result, data_format, function)

    def _retry(self, ended: Input, result: api.GenericResult, function: Function) -> bool:
        policy = function.definition.retry_policy
        if result.status in (Result.GENERIC_STATUS_SUCCESS, Result.GENERIC_STATUS_TERMINATED):
            return False
        if result.status == Result.GENERIC_STATUS_INTERNAL_FAILURE and ended.attempts < _INTERNAL_ATTEMPTS:
            delay_s = 0.0
        elif ended.retry_count < policy.retries:
            delay_s = policy.initial_delay_ms / 1000 * (policy.backoff_coefficient or 1) ** ended.retry_count
            delay_s = min(delay_s, (policy.max_delay_ms or 60000) / 1000) * self.cloud.options.retry_delay_scale
            ended.retry_count += 1
        else:
            return False
        self.cloud.event("retry", input=ended.id, function=function.name, retry_count=ended.retry_count, delay=delay_s)
        self._requeue(ended, delay_s)
        return True

    def _requeue(self, again: Input, delay_s: float = 0.0) -> None:
        again.status, again.container, again.ready_at = "queued", None, time.time() + delay_s
        if again.call.cancelled:
            self.finish(again, failed("Input was cancelled by user", Result.GENERIC_STATUS_TERMINATED))
        else:
            self._queue(again, self.function_of(again.call))

    def _deliver(
        self, ended: Input, result: api.GenericResult, data_format: api.DataFormat.ValueType, function: Function
    ) -> None:
        hold_s = ended.ready_at - time.time() if ended.container else 0.0
        ended.status, ended.result = "done", result
        item = api.FunctionGetOutputsItem(
            result=result,
            idx=ended.index,
            input_id=ended.id,
            data_format=data_format,
            task_id=ended.container.id if ended.container else "",
            input_started_at=ended.started_at,
            output_created_at=time.time(),
            retry_count=ended.retry_count,
        )
        status = Result.GenericStatus.Name(result.status)
        self.cloud.event("output", function=function.name, input=ended.id, call=ended.call.id, status=status)
        if hold_s > 0:
            asyncio.get_running_loop().call_later(hold_s, ended.call.outputs.append, item)
        else:
            ended.call.outputs.append(item)

    # Calls, apps and the whole cloud end

    def cancel(self, call: Call, terminate: bool, reason: str = "Input was cancelled by user") -> None:
        """Queued inputs end at once; running ones are told so, or with ``terminate`` lose their container."""
        call.cancelled = True
        for each in call.inputs:
            container = each.container
            if each.status == "running" and container and not terminate:
                container.to_cancel.append(each.id)
            elif each.status != "done":
                self.finish(each, failed(reason, Result.GENERIC_STATUS_TERMINATED))
                if container and container.alive:
                    container.interrupt("cancelled", INTERRUPT_GRACE_S)

    def stop_app(self, app: App) -> None:
        app.state, app.stopped_at = api.APP_STATE_STOPPED, time.time()
        if self.cloud.deployed.get(app.deployed_name) == app.id:
            del self.cloud.deployed[app.deployed_name]
        for call in self.cloud.calls.values():
            if call.app_id == app.id and any(each.status != "done" for each in call.inputs):
                self.cancel(call, terminate=True, reason="App was stopped")
        for container in self.containers.values():
            if container.function.app_id == app.id and container.alive:
                container.interrupt("app_stopped", INTERRUPT_GRACE_S)
        self.cloud.event("app_stopped", app=app.id)

    def check_not_stopped(self, function: Function) -> None:
        if self.cloud.apps[function.app_id].state == api.APP_STATE_STOPPED:
            raise missing(f"App {function.app_id} is stopped")

    async def close(self) -> None:
        """End all containers and wait until the last of their processes is gone."""
        self._closing = True
        for fault in self._faults:
            fault.cancel()
        for container in self.containers.values():
            if container.alive:
                container.kill("server_stopped")
        await asyncio.gather(*self._runs)


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    """Start a task, and keep it from being collected while it runs."""
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _failure(rule: Rule) -> api.GenericResult:
    message = rule.get("message", f"injected {rule['action']}")
    data = pickle.dumps(RuntimeError(message)) if rule["action"] == "fail" else b""
    return Result(status=_FAILURES[rule["action"]], exception=message, data=data)
