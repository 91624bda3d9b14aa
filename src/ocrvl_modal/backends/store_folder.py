"""The local backend's stores: four folders."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.backends.base import StoreEntry
from ocrvl_modal.errors import not_found, usage_error
from ocrvl_modal.places import Places, split_place


class FolderStores:
    """Implements :class:`ocrvl_modal.backends.base.Stores` over folders of this machine."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def exists(self, place: str) -> bool:
        """Say whether there is a file or a folder at ``place``."""
        return self._path(place).exists()

    def list(self, place: str) -> list[StoreEntry]:
        """Return what is in a folder, or the file itself, by name."""
        path = self._path(place)
        if path == self._places.store(split_place(place)[0]):
            path.mkdir(parents=True, exist_ok=True)
        self._require(path, place)
        if path.is_file():
            return [_entry(path, place)]
        entries = []
        for entry in sorted(entry for entry in path.iterdir() if not entry.name.startswith(".")):
            # A run that trains here renames and removes files at any moment.
            with suppress(FileNotFoundError):
                entries.append(_entry(entry, f"{place.rstrip('/')}/{entry.name}"))
        return entries

    def walk(self, place: str) -> Sequence[StoreEntry]:
        """Return every file at and below a place, hidden ones too, by name; none where nothing is there."""
        path = self._path(place)
        if path.is_file():
            return [_entry(path, place)]
        entries = []
        for file in sorted(path.rglob("*")):
            with suppress(FileNotFoundError):
                if file.is_file():
                    entries.append(_entry(file, f"{place.rstrip('/')}/{file.relative_to(path).as_posix()}"))
        return entries

    def read_bytes(self, place: str, offset: int = 0) -> bytes:
        """Return a file's bytes from ``offset`` on."""
        path = self._path(place)
        if not path.is_file():
            raise not_found(f"there is no file {place} in the local stores", f"ocrvl volume ls {_parent(place)}")
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read()

    def write_bytes(self, place: str, data: bytes) -> None:
        """Write a file whole, in place of one that is there."""
        files.write_bytes(self._path(place), data)

    def write_files(self, contents: Mapping[str, bytes]) -> None:
        """Write several files, each whole, in their order."""
        for place, data in contents.items():
            self.write_bytes(place, data)

    def remove(self, place: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        path = self._path(place)
        self._require(path, place)
        if path.is_dir():
            files.remove_folder(path)
        else:
            path.unlink()

    def get(self, place: str, destination: Path, *, force: bool = False) -> int:
        """Copy a file or a folder out of a store; return its bytes."""
        source = self._path(place)
        self._require(source, place)
        return _copy(source, destination, force=force)

    def put(self, source: Path, place: str, *, force: bool = False) -> int:
        """Copy a file or a folder into a store; return its bytes."""
        if not source.exists():
            raise not_found(f"there is no {source} on this machine", f"ls {source.parent}")
        store, inside = split_place(place)
        if not inside.parts:
            place = f"/{store}/{source.absolute().name}"
        return _copy(source, self._path(place), force=force)

    def take(self, source: Path, place: str) -> None:
        """Bring a file into a store; on the same disk it only gets another name."""
        path = self._path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            files.copy_file(source, path)
            source.unlink()

    def _path(self, place: str) -> Path:
        split_place(place)
        return self._places.resolve(place)

    def _require(self, path: Path, place: str) -> None:
        if not path.exists():
            raise not_found(f"there is no {place} in the local stores", f"ocrvl volume ls {_parent(place)}")


def _copy(source: Path, destination: Path, *, force: bool) -> int:
    if destination.is_dir() and source.is_file():
        destination = destination / source.name
    if destination.exists() and not force:
        raise usage_error(f"{destination} exists already", "add --force to replace it")
    if source.is_dir():
        _require_apart(source, destination)
        with files.new_folder(destination) as beside:
            shutil.copytree(source, beside, dirs_exist_ok=True)
    else:
        files.copy_file(source, destination)
    return files.size_of_tree(destination)


def _require_apart(source: Path, destination: Path) -> None:
    """Refuse to copy a folder into itself, which would never end, or over a folder that holds it."""
    one, other = source.resolve(), destination.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise usage_error(f"{source} and {destination} lie one inside the other", "name a place outside of it")


def _entry(path: Path, place: str) -> StoreEntry:
    modified = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    return StoreEntry(place, path.is_dir(), files.size_of_tree(path), modified)


def _parent(place: str) -> str:
    return place.rstrip("/").rpartition("/")[0] or place
