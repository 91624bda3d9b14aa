"""Volumes: committed contents, and the view of each container that mounts one."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from modal_proto import api_pb2 as api

from .processes import descendants

_BESIDE = ".fakemodal-beside"  # marks a file on its way to its place
Signature = tuple[int, int]


def inside(root: Path, relative: str) -> Path:
    """A path that a client sent, below a root; one that leaves the root is refused."""
    path = Path(os.path.normpath(root / relative.lstrip("/")))
    if path != root and root not in path.parents:
        raise ValueError(f"the path leaves the volume: {relative}")
    return path


def copy_entry(source: Path, target: Path) -> None:
    """Copy a file or make a folder; never written in place, so that readers of the old file keep it."""
    if source.is_dir() and not source.is_symlink():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    beside = target.with_name(f".{target.name}{_BESIDE}")
    shutil.copy2(source, beside, follow_symlinks=False)
    beside.replace(target)


def remove_entry(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class Volume:
    """The committed contents of one volume."""

    def __init__(self, volume_id: str, name: str, version: api.VolumeFsVersion.ValueType, folder: Path) -> None:
        self.id, self.name, self.version, self.folder = volume_id, name, version, folder
        self.created_at, self.commits, self.reloads = time.time(), 0, 0
        folder.mkdir(parents=True)

    def put(self, relative: str, chunks: Iterable[bytes], mode: int, size: int | None = None) -> None:
        path = inside(self.folder, relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}{_BESIDE}")
        with beside.open("wb") as file:
            file.writelines(chunks)
            if size is not None:
                file.truncate(size)
        if mode:
            beside.chmod(mode & 0o777)
        beside.replace(path)

    def listing(self, relative: str, recursive: bool) -> list[Path]:
        path = inside(self.folder, relative)
        if not path.exists():
            raise FileNotFoundError(relative)
        if path.is_file():
            return [path]
        return sorted(path.rglob("*") if recursive else path.iterdir())

    def name_of(self, path: Path) -> str:
        return str(path.relative_to(self.folder))


class MountedVolume:
    """One container's view of a volume: ``push`` commits what changed in it, ``pull`` gets what others committed.

    The last writer of a file wins.  A live one is the committed folder itself.
    """

    def __init__(self, volume: Volume, folder: Path, live: bool) -> None:
        self.volume = volume
        self.folder = volume.folder if live else folder
        self._live, self._lock = live, threading.Lock()
        self._base: dict[str, Signature] = {}  # as it was at the last pull or push
        if not live:
            folder.mkdir(parents=True)
            self.pull()

    def pull(self) -> None:
        if self._live:
            return
        with self._lock:
            committed, here = _manifest(self.volume.folder), _manifest(self.folder)
            for name, signature in committed.items():
                if here.get(name) != signature:
                    copy_entry(self.volume.folder / name, self.folder / name)
            for name in sorted(set(here) - set(committed), reverse=True):
                remove_entry(self.folder / name)
            self._base = _manifest(self.folder)

    def push(self) -> int:
        """Commit; returns the number of changed paths."""
        if self._live:
            return 0
        with self._lock:
            here = _manifest(self.folder)
            changed = [name for name, signature in here.items() if self._base.get(name) != signature]
            removed = sorted(set(self._base) - set(here), reverse=True)
            for name in changed:
                try:
                    copy_entry(self.folder / name, self.volume.folder / name)
                except FileNotFoundError:  # removed by the container while we looked
                    del here[name]
            for name in removed:
                remove_entry(self.volume.folder / name)
            self._base = here
        return len(changed) + len(removed)

    def open_files(self, launcher: int) -> list[str]:
        """Files of this view that a process of the container holds open."""
        names = {}
        for path in self.folder.rglob("*"):
            if path.is_file():
                names[path.stat().st_dev, path.stat().st_ino] = str(path.relative_to(self.folder))
        held = []
        for process in descendants(launcher):
            try:
                for descriptor in Path(f"/proc/{process}/fd").iterdir():
                    status = descriptor.stat()
                    held += [names[key] for key in [(status.st_dev, status.st_ino)] if key in names]
            except OSError:  # the process or the descriptor is gone
                continue
        return held


def _manifest(root: Path) -> dict[str, Signature]:
    """Everything below a folder, with what changes when it does; what vanishes meanwhile is left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name.endswith(_BESIDE):
            continue
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        folder = path.is_dir() and not path.is_symlink()
        found[str(path.relative_to(root))] = (-1, 0) if folder else (status.st_size, status.st_mtime_ns)
    return found
