"""Volumes, as clients and containers use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as api

from fakemodal.cloud import missing
from fakemodal.layout import volume_metadata
from fakemodal.volumes import MountedVolume, Volume, copy_entry, inside, remove_entry

from .subject import From, Request, Subject

_BLOCK_BYTES = 8 * 1024 * 1024  # of the client's protocol for volumes of version 2
_LISTED_AT_ONCE = 500


class Volumes(Subject):
    def VolumeGetOrCreate(self, request: Request, container: From) -> api.VolumeGetOrCreateResponse:
        """A volume that exists with another version is returned with its own: the client compares and refuses."""
        version = request.version or api.VOLUME_FS_VERSION_V1
        store = self.cloud.store
        volume_id = self.cloud.named(
            "Volume", request, lambda name: store.new_volume(self.cloud.new_id("vo"), name, version).id
        )
        volume = store.volumes[volume_id]
        return api.VolumeGetOrCreateResponse(
            volume_id=volume_id, version=volume.version, metadata=volume_metadata(volume)
        )

    def VolumeGetById(self, request: Request, container: From) -> api.VolumeGetByIdResponse:
        metadata = volume_metadata(self._volume(request))
        return api.VolumeGetByIdResponse(volume_id=request.volume_id, metadata=metadata)

    def VolumeHeartbeat(self, request: Request, container: From) -> None:
        return None

    def VolumeList(self, request: Request, container: From) -> api.VolumeListResponse:
        page = request.pagination
        before = page.created_before or float("inf")
        named = [found for found in self.cloud.store.volumes.values() if found.name and found.created_at < before]
        named.sort(key=lambda found: found.created_at, reverse=True)
        return api.VolumeListResponse(
            environment_name=self.cloud.options.environment,
            items=[
                api.VolumeListItem(
                    label=volume.name,
                    volume_id=volume.id,
                    created_at=volume.created_at,
                    metadata=volume_metadata(volume),
                )
                for volume in named[: page.max_objects or 100]
            ],
        )

    def VolumeDelete(self, request: Request, container: From) -> None:
        volume = self._volume(request)
        self.cloud.forget("Volume", volume.id)
        remove_entry(volume.folder)
        del self.cloud.store.volumes[volume.id]

    def VolumeRename(self, request: Request, container: From) -> None:
        self._volume(request).name = request.name
        self.cloud.rename("Volume", request.volume_id, request.name)

    def VolumePutFiles(self, request: Request, container: From) -> None:
        volume = self._volume(request)
        if request.disallow_overwrite_existing_files:
            _refuse_existing(volume, [file.filename for file in request.files])
        for file in request.files:
            content = self.cloud.store.content(file.sha256_hex).read_bytes()
            volume.put(file.filename, [content], file.mode)

    def VolumePutFiles2(self, request: Request, container: From) -> api.VolumePutFiles2Response:
        """Put files whose blocks are all here; else say which blocks to send first."""
        volume, store, answer = self._volume(request), self.cloud.store, api.VolumePutFiles2Response()
        if request.disallow_overwrite_existing_files:
            _refuse_existing(volume, [file.path for file in request.files])
        for file_index, file in enumerate(request.files):
            for block_index, block in enumerate(file.blocks):
                digest = block.contents_sha256.hex()
                if not store.has(digest):
                    url = f"{store.url}/block/{digest}"
                    answer.missing_blocks.add(file_index=file_index, block_index=block_index, put_url=url)
        if not answer.missing_blocks:
            for file in request.files:
                blocks = (store.content(block.contents_sha256.hex()).read_bytes() for block in file.blocks)
                # The client leaves out the zeros at the end of a block.
                padded = (block.ljust(_BLOCK_BYTES, b"\0") for block in blocks)
                volume.put(file.path, padded, file.mode, file.size)
        return answer

    async def VolumeListFiles(self, request: Request, container: From) -> AsyncIterator[api.VolumeListFilesResponse]:
        async for entries in self._listing(request):
            yield api.VolumeListFilesResponse(entries=entries)

    async def VolumeListFiles2(self, request: Request, container: From) -> AsyncIterator[api.VolumeListFiles2Response]:
        async for entries in self._listing(request):
            yield api.VolumeListFiles2Response(entries=entries)

    async def _listing(self, request: Request) -> AsyncIterator[list[Any]]:
        volume = self._volume(request)
        found = volume.listing(request.path, request.recursive)
        for start in range(0, len(found), _LISTED_AT_ONCE):
            yield [_file_entry(volume, path) for path in found[start : start + _LISTED_AT_ONCE]]

    def VolumeGetFile2(self, request: Request, container: From) -> api.VolumeGetFile2Response:
        volume = self._volume(request)
        path = inside(volume.folder, request.path)
        if not path.is_file():
            raise FileNotFoundError(request.path)
        reading = self.cloud.store.keep_for_reader(path)
        size = self.cloud.store.reading(reading).stat().st_size
        length = min(request.len or size, size - request.start)
        address = f"{self.cloud.store.url}/reading/{reading}"
        urls = [
            f"{address}?start={request.start + start}&length={min(_BLOCK_BYTES, length - start)}"
            for start in range(0, length, _BLOCK_BYTES)
        ]
        return api.VolumeGetFile2Response(get_urls=urls, size=size, start=request.start, len=length)

    def VolumeRemoveFile(self, request: Request, container: From) -> None:
        path = inside(self._volume(request).folder, request.path)
        if not path.exists():
            raise FileNotFoundError(request.path)
        if path.is_dir() and not request.recursive and any(path.iterdir()):
            raise GRPCError(Status.INVALID_ARGUMENT, f"{request.path} is a directory: use recursive")
        remove_entry(path)

    def VolumeCopyFiles(self, request: Request, container: From) -> None:
        volume = self._volume(request)
        target = inside(volume.folder, request.dst_path)
        for source in [inside(volume.folder, path) for path in request.src_paths]:
            if not source.exists():
                raise FileNotFoundError(volume.name_of(source))
            into = target / source.name if target.is_dir() or request.dst_path.endswith("/") else target
            for path in [source, *source.rglob("*")]:
                copy_entry(path, into / path.relative_to(source))

    VolumeRemoveFile2, VolumeCopyFiles2 = VolumeRemoveFile, VolumeCopyFiles

    async def VolumeCommit(self, request: Request, container: From) -> api.VolumeCommitResponse:
        volume, mounted = self._volume(request), self._mounted(request, container)
        changed = await asyncio.to_thread(mounted.push)
        volume.commits += 1
        task = container.id if container else ""
        self.cloud.event("volume_commit", volume=volume.name or volume.id, task=task, changed=changed)
        return api.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: Request, container: From) -> None:
        volume, mounted = self._volume(request), self._mounted(request, container)
        assert container and container.process
        if await asyncio.to_thread(mounted.open_files, container.process.pid):
            raise GRPCError(Status.FAILED_PRECONDITION, "there are open files preventing the operation")
        await asyncio.to_thread(mounted.push)
        await asyncio.to_thread(mounted.pull)
        volume.reloads += 1

    def _volume(self, request: Request) -> Volume:
        return self.cloud.find(self.cloud.store.volumes, request.volume_id)

    def _mounted(self, request: Request, container: From) -> MountedVolume:
        if container is None or request.volume_id not in container.volumes:
            raise missing(f"Volume {request.volume_id} is not mounted in this container")
        return container.volumes[request.volume_id]


def _refuse_existing(volume: Volume, paths: Iterable[str]) -> None:
    for path in paths:
        if inside(volume.folder, path).exists():
            raise GRPCError(Status.ALREADY_EXISTS, f"{path}: already exists")


def _file_entry(volume: Volume, path: Path) -> Any:
    kind, status = api.FileEntry.FileType, path.lstat()
    folder = path.is_dir()
    return api.FileEntry(
        path=volume.name_of(path),
        type=kind.DIRECTORY if folder else kind.FILE,
        mtime=int(status.st_mtime),
        size=0 if folder else status.st_size,
    )
