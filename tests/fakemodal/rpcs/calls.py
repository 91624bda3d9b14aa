"""Calls of functions: inputs go in, outputs come out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

from modal_proto import api_pb2 as api

from fakemodal.objects import Call, Input
from fakemodal.scheduling import POLL_S

from .subject import From, Request, Subject

_MOST_INPUTS_OUTSTANDING = 1000
_Status = api.GenericResult


class Calls(Subject):
    def FunctionMap(self, request: Request, container: From) -> api.FunctionMapResponse:
        """Start a call; the client is told not to retry by itself, since the scheduler does."""
        function = self.cloud.find(self.cloud.functions, request.function_id)
        self.scheduler.check_not_stopped(function)
        invocation = request.function_call_invocation_type
        call = Call(self.cloud.new_id("fc"), function.id, function.app_id, invocation)
        self.cloud.calls[call.id] = call
        self.cloud.event(
            "call",
            function=function.name,
            call=call.id,
            parent=request.parent_input_id,
            invocation=api.FunctionCallInvocationType.Name(invocation),
        )
        return api.FunctionMapResponse(
            function_call_id=call.id,
            pipelined_inputs=self._add(call, request.pipelined_inputs),
            function_call_jwt=call.id,
            retry_policy=function.definition.retry_policy,
            max_inputs_outstanding=_MOST_INPUTS_OUTSTANDING,
        )

    def FunctionPutInputs(self, request: Request, container: From) -> api.FunctionPutInputsResponse:
        return api.FunctionPutInputsResponse(inputs=self._add(self._call(request), request.inputs))

    def FunctionFinishInputs(self, request: Request, container: From) -> None:
        return None

    async def FunctionGetOutputs(self, request: Request, container: From) -> api.FunctionGetOutputsResponse:
        call, end = self._call(request), time.time() + request.timeout
        last = int(request.last_entry_id.partition("-")[0] or 0)
        while True:
            found = call.outputs[last:]
            if request.HasField("start_idx"):
                found = [output for output in found if request.start_idx <= output.idx <= request.end_idx]
            if found or time.time() >= end:
                return api.FunctionGetOutputsResponse(
                    outputs=found,
                    last_entry_id=f"{len(call.outputs)}-0",
                    num_unfinished_inputs=len(call.inputs) - len(call.outputs),
                )
            await asyncio.sleep(POLL_S)

    async def FunctionCallGetDataOut(self, request: Request, container: From) -> AsyncIterator[api.DataChunk]:
        call, last = self._call(request), request.last_index
        while True:
            for chunk in sorted((each for each in call.chunks if each.index > last), key=lambda each: each.index):
                last = chunk.index
                yield chunk
            await asyncio.sleep(POLL_S)

    def FunctionCallFromId(self, request: Request, container: From) -> api.FunctionCallFromIdResponse:
        call = self._call(request)
        metadata = api.FunctionCallHandleMetadata(app_id=call.app_id, function_id=call.function_id)
        return api.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=len(call.inputs), metadata=metadata)

    def FunctionCallGetInfo(self, request: Request, container: From) -> api.FunctionCallGetInfoResponse:
        call = self._call(request)
        info = api.FunctionCallInfo(function_call_id=call.id, created_at=call.created_at, total_inputs=len(call.inputs))
        groups = {
            _Status.GENERIC_STATUS_UNSPECIFIED: info.pending_inputs,
            _Status.GENERIC_STATUS_SUCCESS: info.succeeded_inputs,
            _Status.GENERIC_STATUS_TERMINATED: info.cancelled_inputs,
            _Status.GENERIC_STATUS_TIMEOUT: info.timeout_inputs,
        }
        for each in call.inputs:
            group = groups.get(_status(each), info.failed_inputs)
            group.total += 1
            group.latest.add(input_id=each.id, idx=each.index, started_at=each.started_at, task_id=_container_id(each))
        return api.FunctionCallGetInfoResponse(info=info)

    def FunctionGetCallGraph(self, request: Request, container: From) -> api.FunctionGetCallGraphResponse:
        call, graph = self._call(request), api.FunctionGetCallGraphResponse()
        function = self.scheduler.function_of(call)
        module = function.definition.module_name
        graph.function_calls.add(function_call_id=call.id, function_name=function.name, module_name=module)
        for each in call.inputs:
            graph.inputs.add(
                input_id=each.id, status=_status(each), function_call_id=call.id, task_id=_container_id(each)
            )
        return graph

    def FunctionCallCancel(self, request: Request, container: From) -> None:
        self.scheduler.cancel(self._call(request), request.terminate_containers)

    def FunctionGetCurrentStats(self, request: Request, container: From) -> api.FunctionStats:
        function = self.cloud.find(self.cloud.functions, request.function_id)
        alive = self.scheduler.containers_of(function)
        return api.FunctionStats(
            backlog=len(self.scheduler.waiting(function)),
            num_total_tasks=len(alive),
            num_running_inputs=sum(len(each.current) for each in alive),
        )

    def _call(self, request: Request) -> Call:
        return self.cloud.find(self.cloud.calls, request.function_call_id)

    def _add(self, call: Call, items: Iterable[api.FunctionPutInputsItem]) -> list[api.FunctionPutInputsResponseItem]:
        answers = []
        for item in items:
            new = Input(self.cloud.new_id("in"), call, item.idx, item.input)
            self.scheduler.submit(new)
            answers.append(api.FunctionPutInputsResponseItem(idx=item.idx, input_id=new.id, input_jwt=new.id))
        return answers


def _status(each: Input) -> api.GenericResult.GenericStatus.ValueType:
    return each.result.status if each.result else _Status.GENERIC_STATUS_UNSPECIFIED


def _container_id(each: Input) -> str:
    return each.container.id if each.container else ""
