"""Images, mounts and blobs: what containers are made of."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2 as api

from fakemodal.objects import STDOUT, Image
from fakemodal.scheduling import failed

from .subject import From, Request, Subject

_SUCCESS = api.GenericResult.GENERIC_STATUS_SUCCESS


class Images(Subject):
    def ImageGetOrCreate(self, request: Request, container: From) -> api.ImageGetOrCreateResponse:
        digest = hashlib.sha256(request.image.SerializeToString(deterministic=True)).hexdigest()
        image_id = f"im-{digest[:22]}"
        known = self.cloud.images.get(image_id)
        if known and not known.failure and not request.force_build:
            result = api.GenericResult(status=_SUCCESS)
            return api.ImageGetOrCreateResponse(image_id=image_id, result=result, metadata=self._metadata())
        self._build(image_id, request)
        return api.ImageGetOrCreateResponse(image_id=image_id)

    async def ImageJoinStreaming(
        self, request: Request, container: From
    ) -> AsyncIterator[api.ImageJoinStreamingResponse]:
        """The lines of a build, then its result."""
        image = self.cloud.find(self.cloud.images, request.image_id)
        for number, line in enumerate(self._lines(image), 1):
            log = api.TaskLogs(data=line, file_descriptor=STDOUT)
            yield api.ImageJoinStreamingResponse(task_logs=[log], entry_id=f"{number}-0")
        if image.failure:
            message = image.failure.get("message", "injected build failure")
            yield api.ImageJoinStreamingResponse(result=failed(message), eof=True)
        else:
            result = api.GenericResult(status=_SUCCESS)
            yield api.ImageJoinStreamingResponse(result=result, metadata=self._metadata(), eof=True)

    def ImageBuildChainGet(self, request: Request, container: From) -> api.ImageBuildChainGetResponse:
        """Which builder wrote the logs of an image and of those below it."""
        return api.ImageBuildChainGetResponse(build_steps=self._steps(request.image_id))

    def ImageFromId(self, request: Request, container: From) -> api.ImageFromIdResponse:
        self.cloud.find(self.cloud.images, request.image_id)
        return api.ImageFromIdResponse(image_id=request.image_id, metadata=self._metadata())

    def _build(self, image_id: str, request: Request) -> None:
        """Record an image, and write the lines of its build to the builder's log."""
        definition, cloud = request.image, self.cloud
        commands = list(definition.dockerfile_commands)
        failure = cloud.faults.match("image", commands="\n".join(commands))
        image = Image(image_id, definition, cloud.new_id("ta"), time.time(), failure)
        cloud.images[image_id] = image
        for command in commands:
            cloud.log(cloud.builder, f"=> Step: {command}\n", STDOUT, container=image.builder_task)
        for line in failure.get("lines", ["error: the command failed"]) if failure else ():
            cloud.log(cloud.builder, f"{line}\n", STDOUT, container=image.builder_task)
        image.finished_at = time.time()
        cloud.event(
            "image",
            image=image_id,
            commands=commands,
            gpu=definition.gpu_config.gpu_type,
            bases=[base.image_id for base in definition.base_images],
            builder=request.builder_version,
            volumes={mount.mount_path: mount.volume_id for mount in definition.volume_mounts},
            failed=failure is not None,
        )

    def _lines(self, image: Image) -> list[str]:
        return [line.text for line in self.cloud.builder.logs if line.container == image.builder_task]

    def _steps(self, image_id: str) -> list[api.ImageBuildStep]:
        image = self.cloud.find(self.cloud.images, image_id)
        below = [step for base in image.definition.base_images for step in self._steps(base.image_id)]
        own = api.ImageBuildStep(
            image_id=image_id,
            started_at=_timestamp(image.started_at),
            finished_at=_timestamp(image.finished_at),
            builder_app_id=self.cloud.builder.id,
            builder_task_id=image.builder_task,
        )
        return [*below, own]

    def _metadata(self) -> api.ImageMetadata:
        options = self.cloud.options
        return api.ImageMetadata(
            python_version_info=options.python_version, image_builder_version=options.builder_version
        )

    def MountBatchedCheckExistence(self, request: Request, container: From) -> api.MountBatchedCheckExistenceResponse:
        absent = [digest for digest in request.sha256_hex_hashes if not self.cloud.store.has(digest)]
        return api.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=absent)

    async def MountPutFile(self, request: Request, container: From) -> api.MountPutFileResponse:
        store = self.cloud.store
        if request.WhichOneof("data_oneof") == "data":
            store.add(request.data)
        elif request.data_blob_id:
            blob = store.blob(request.data_blob_id)
            await asyncio.to_thread(shutil.copyfile, blob, store.content(request.sha256_hex))
        return api.MountPutFileResponse(exists=store.has(request.sha256_hex))

    def MountGetOrCreate(self, request: Request, container: From) -> api.MountGetOrCreateResponse:
        if request.namespace == api.DEPLOYMENT_NAMESPACE_GLOBAL:  # the client itself: containers have their own
            identity, files = request.deployment_name, []
        else:
            files = list(request.files)
            identity = "".join(sorted(file.filename + file.sha256_hex for file in files))
        digest = hashlib.sha256(identity.encode()).hexdigest()
        mount_id = f"mo-{digest[:22]}"
        self.cloud.mounts[mount_id] = files
        metadata = api.MountHandleMetadata(content_checksum_sha256_hex=digest)
        return api.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=metadata)

    def BlobCreate(self, request: Request, container: From) -> api.BlobCreateResponse:
        blob_id = self.cloud.new_id("bl")
        url = f"{self.cloud.store.url}/blob/{blob_id}"
        return api.BlobCreateResponse(
            blob_id=blob_id, upload_url=url, blob_ids=[blob_id], upload_urls=api.UploadUrlList(items=[url])
        )

    def BlobGet(self, request: Request, container: From) -> api.BlobGetResponse:
        return api.BlobGetResponse(download_url=f"{self.cloud.store.url}/blob/{request.blob_id}")


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp
