"""Shared queues (``modal.Queue``)."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

from modal_proto import api_pb2 as api

from fakemodal.cloud import Cloud
from fakemodal.scheduling import POLL_S, Scheduler

from .subject import From, Request, Subject

Partition = list[tuple[int, bytes]]  # numbered values


class Queues(Subject):
    def __init__(self, cloud: Cloud, scheduler: Scheduler) -> None:
        super().__init__(cloud, scheduler)
        self._partitions: defaultdict[str, defaultdict[bytes, Partition]] = defaultdict(lambda: defaultdict(list))

    def QueueGetOrCreate(self, request: Request, container: From) -> api.QueueGetOrCreateResponse:
        queue_id = self.cloud.named("Queue", request, lambda _: self.cloud.new_id("qu"))
        metadata = api.QueueMetadata(name=request.deployment_name)
        return api.QueueGetOrCreateResponse(queue_id=queue_id, metadata=metadata)

    def QueuePut(self, request: Request, container: From) -> None:
        self._partition(request).extend((next(self.cloud.numbers), value) for value in request.values)

    async def QueueGet(self, request: Request, container: From) -> api.QueueGetResponse:
        end, partition = time.time() + request.timeout, self._partition(request)
        while not partition and time.time() < end:
            await asyncio.sleep(POLL_S)
        taken = partition[: request.n_values]
        del partition[: len(taken)]
        return api.QueueGetResponse(values=[value for _, value in taken])

    def QueueLen(self, request: Request, container: From) -> api.QueueLenResponse:
        counted = self._partitions[request.queue_id].values() if request.total else [self._partition(request)]
        return api.QueueLenResponse(len=sum(map(len, counted)))

    async def QueueNextItems(self, request: Request, container: From) -> api.QueueNextItemsResponse:
        end, last = time.time() + request.item_poll_timeout, int(request.last_entry_id.partition("-")[0] or 0)
        while True:
            newer = [(number, value) for number, value in self._partition(request) if number > last]
            if newer or time.time() >= end:
                items = [api.QueueItem(value=value, entry_id=f"{number}-0") for number, value in newer]
                return api.QueueNextItemsResponse(items=items)
            await asyncio.sleep(POLL_S)

    def QueueClear(self, request: Request, container: From) -> None:
        if request.all_partitions:
            self._partitions[request.queue_id].clear()
        else:
            self._partition(request).clear()

    def QueueDelete(self, request: Request, container: From) -> None:
        self.cloud.forget("Queue", request.queue_id)

    def QueueHeartbeat(self, request: Request, container: From) -> None:
        return None

    def _partition(self, request: Request) -> Partition:
        return self._partitions[request.queue_id][request.partition_key]
