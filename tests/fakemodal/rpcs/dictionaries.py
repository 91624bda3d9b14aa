"""Shared dictionaries (``modal.Dict``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

from modal_proto import api_pb2 as api

from fakemodal.cloud import Cloud
from fakemodal.scheduling import Scheduler

from .subject import From, Request, Subject


class Dictionaries(Subject):
    def __init__(self, cloud: Cloud, scheduler: Scheduler) -> None:
        super().__init__(cloud, scheduler)
        self._contents: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)

    def DictGetOrCreate(self, request: Request, container: From) -> api.DictGetOrCreateResponse:
        def make(name: str) -> str:
            dict_id = self.cloud.new_id("di")
            self._contents[dict_id] = {entry.key: entry.value for entry in request.data}
            return dict_id

        metadata = api.DictMetadata(name=request.deployment_name)
        return api.DictGetOrCreateResponse(dict_id=self.cloud.named("Dict", request, make), metadata=metadata)

    def DictGet(self, request: Request, container: From) -> api.DictGetResponse:
        contents = self._contents[request.dict_id]
        return api.DictGetResponse(found=request.key in contents, value=contents.get(request.key))

    def DictContains(self, request: Request, container: From) -> api.DictContainsResponse:
        return api.DictContainsResponse(found=request.key in self._contents[request.dict_id])

    def DictLen(self, request: Request, container: From) -> api.DictLenResponse:
        return api.DictLenResponse(len=len(self._contents[request.dict_id]))

    def DictUpdate(self, request: Request, container: From) -> api.DictUpdateResponse:
        contents, created = self._contents[request.dict_id], True
        for entry in request.updates:
            created = not (request.if_not_exists and entry.key in contents)
            if created:
                contents[entry.key] = entry.value
        return api.DictUpdateResponse(created=created)

    def DictPop(self, request: Request, container: From) -> api.DictPopResponse:
        contents = self._contents[request.dict_id]
        return api.DictPopResponse(found=request.key in contents, value=contents.pop(request.key, None))

    async def DictContents(self, request: Request, container: From) -> AsyncIterator[api.DictEntry]:
        for key, value in list(self._contents[request.dict_id].items()):
            yield api.DictEntry(key=key if request.keys else b"", value=value if request.values else b"")

    def DictClear(self, request: Request, container: From) -> None:
        self._contents[request.dict_id].clear()

    def DictDelete(self, request: Request, container: From) -> None:
        self.cloud.forget("Dict", request.dict_id)

    def DictHeartbeat(self, request: Request, container: From) -> None:
        return None

    def DictList(self, request: Request, container: From) -> api.DictListResponse:
        found = api.DictListResponse(environment_name=self.cloud.options.environment)
        for (kind, name), dict_id in self.cloud.names.items():
            if kind == "Dict":
                found.dicts.add(name=name, dict_id=dict_id, metadata=api.DictMetadata(name=name))
        return found
