"""What containers say and ask, and how clients list and stop them."""

from __future__ import annotations

import asyncio
import time

from modal_proto import api_pb2 as api

from fakemodal.containers import Container
from fakemodal.scheduling import POLL_S

from .subject import From, Request, Subject

_LONGEST_HEARTBEAT_S = 1.5  # a heartbeat is answered after that time, or at once with inputs to cancel


class Containers(Subject):
    def ContainerHello(self, request: Request, container: From) -> None:
        return None

    async def ContainerHeartbeat(self, request: Request, container: From) -> api.ContainerHeartbeatResponse:
        end, answer = time.time() + _LONGEST_HEARTBEAT_S, api.ContainerHeartbeatResponse()
        own = _known(container)
        while not own.to_cancel and time.time() < end:
            await asyncio.sleep(POLL_S)
        if own.to_cancel:
            answer.cancel_input_event.input_ids.extend(own.to_cancel)
            own.to_cancel = []
        return answer

    async def FunctionGetInputs(self, request: Request, container: From) -> api.FunctionGetInputsResponse:
        taken = await self.scheduler.next_inputs(_known(container), request.batch_max_size)
        items = [
            api.FunctionGetInputsItem(
                input_id=each.id,
                input=each.payload,
                function_call_id=each.call.id,
                retry_count=each.retry_count,
                function_call_invocation_type=each.call.invocation,
                function_map_idx=each.index,
            )
            for each in taken
        ]
        return api.FunctionGetInputsResponse(inputs=items or [api.FunctionGetInputsItem(kill_switch=True)])

    def FunctionPutOutputs(self, request: Request, container: From) -> None:
        for output in request.outputs:
            ended = self.cloud.find(self.cloud.inputs, output.input_id)
            if ended.container is container:  # else the attempt was given up
                self.scheduler.finish(ended, output.result, output.data_format)

    def FunctionCallPutDataOut(self, request: Request, container: From) -> None:
        self.cloud.find(self.cloud.calls, request.function_call_id).chunks.extend(request.data_chunks)

    def FunctionGetDynamicConcurrency(
        self, request: Request, container: From
    ) -> api.FunctionGetDynamicConcurrencyResponse:
        return api.FunctionGetDynamicConcurrencyResponse(concurrency=request.target_concurrency)

    def TaskResult(self, request: Request, container: From) -> None:
        """A container could not import its function, or an ``@enter`` hook failed."""
        self.scheduler.start_failed(_known(container), request.result)

    def TaskList(self, request: Request, container: From) -> api.TaskListResponse:
        alive = [each for each in self.scheduler.containers.values() if each.alive]
        return api.TaskListResponse(
            tasks=[
                api.TaskStats(
                    task_id=each.id,
                    app_id=each.function.app_id,
                    app_description=self.cloud.apps[each.function.app_id].name,
                    started_at=each.started_at,
                    enqueued_at=each.enqueued_at,
                )
                for each in alive
                if request.app_id in ("", each.function.app_id)
            ]
        )

    def TaskGetInfo(self, request: Request, container: From) -> api.TaskGetInfoResponse:
        found = self.cloud.find(self.scheduler.containers, request.task_id)
        info = api.TaskInfo(
            id=found.id,
            started_at=found.started_at,
            finished_at=found.finished_at,
            enqueued_at=found.enqueued_at,
        )
        return api.TaskGetInfoResponse(app_id=found.function.app_id, info=info)

    def ContainerStop(self, request: Request, container: From) -> api.ContainerStopResponse:
        """A stopped container's inputs start again elsewhere."""
        found = self.cloud.find(self.scheduler.containers, request.task_id)
        if request.graceful:
            found.stopping = True
        else:
            found.kill("preempt")
        return api.ContainerStopResponse()


def _known(container: From) -> Container:
    assert container is not None, "only a container may ask for that"
    return container
