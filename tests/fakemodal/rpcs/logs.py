"""What containers, image builds and the system wrote."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from modal_proto import api_pb2 as api

from fakemodal.objects import App, LogLine
from fakemodal.scheduling import POLL_S

from .subject import From, Request, Subject

_DEFAULT_BUCKET_S = 60


class Logs(Subject):
    async def AppGetLogs(self, request: Request, container: From) -> AsyncIterator[api.TaskLogsBatch]:
        """Follow a log until the app is done or the client that streams it has left the app."""
        app = self._app(request)
        last, left = int(request.last_entry_id.partition("-")[0] or 0), app.disconnect
        end = time.time() + request.timeout
        while True:
            stopped = app.state == api.APP_STATE_STOPPED and not self.scheduler.has_containers(app)
            done = stopped or app.disconnect != left
            for line in _matching(app.logs[last:], request, request.file_descriptor):
                yield _batch(line)
            last = len(app.logs)
            if done:
                yield api.TaskLogsBatch(app_done=True)
                return
            if time.time() >= end:
                return
            await asyncio.sleep(POLL_S)

    def AppFetchLogs(self, request: Request, container: From) -> api.AppFetchLogsResponse:
        found = self._between(request)
        return api.AppFetchLogsResponse(batches=[_batch(line) for line in found[-request.limit :]])

    def AppCountLogs(self, request: Request, container: From) -> api.AppCountLogsResponse:
        size_s = request.bucket_secs or _DEFAULT_BUCKET_S
        counts = Counter(int(line.time) // size_s * size_s for line in self._between(request))
        counted = api.AppCountLogsResponse(app_id=request.app_id)
        for start, lines in sorted(counts.items()):
            bucket = counted.buckets.add(stdout_logs=lines)
            bucket.bucket_start_at.seconds = start
        return counted

    def _between(self, request: Request) -> list[LogLine]:
        since, until = request.since.ToNanoseconds() / 1e9, request.until.ToNanoseconds() / 1e9
        lines = _matching(self._app(request).logs, request, request.source)
        # A line that is written while the client asks belongs to the answer: its end is "now".
        return [line for line in lines if since <= line.time < until + 1]

    def _app(self, request: Request) -> App:
        builder = self.cloud.builder
        return builder if request.app_id == builder.id else self.cloud.find(self.cloud.apps, request.app_id)


def _matching(lines: list[LogLine], request: Request, descriptor: int) -> Iterator[LogLine]:
    for line in lines:
        wanted = (
            (request.function_id, line.function),
            (request.parametrized_function_id, line.variant),
            (request.function_call_id, line.call),
            (request.task_id, line.container),
            (descriptor, line.descriptor),
        )
        if all(not want or want == have for want, have in wanted) and request.search_text in line.text:
            yield line


def _batch(line: LogLine) -> api.TaskLogsBatch:
    item = api.TaskLogs(
        data=line.text,
        timestamp=line.time,
        timestamp_ns=int(line.time * 1e9),
        file_descriptor=line.descriptor,
        function_call_id=line.call,
        input_id=line.input,
    )
    return api.TaskLogsBatch(
        entry_id=f"{line.number}-0",
        task_id=line.container,
        function_id=line.function,
        input_id=line.input,
        items=[item],
    )
