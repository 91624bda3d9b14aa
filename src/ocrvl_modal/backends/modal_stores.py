"""The four stores on Modal's volumes, as this machine reaches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ocrvl_modal import files
from ocrvl_modal.backends.base import StoreEntry
from ocrvl_modal.backends.modal_words import in_words
from ocrvl_modal.errors import not_found, usage_error
from ocrvl_modal.places import split_place
from ocrvl_modal.volumes import VOLUMES

if TYPE_CHECKING:
    import modal

_TRANSFERS = 8


class ModalStores:
    """Implements :class:`ocrvl_modal.backends.base.Stores` over Modal volumes.

    A place is seen as it was last committed; a container that writes at this moment may be ahead of it.
    """

    def __init__(self) -> None:
        self._volumes: dict[str, modal.Volume] = {}

    def exists(self, place: str) -> bool:
        """Say whether there is a file or a folder at ``place``."""
        store, inside = split_place(place)
        if not inside.parts:
            return True
        return self._own_entry(store, inside) is not None

    def list(self, place: str) -> list[StoreEntry]:
        """Return what is in a folder, or the file itself, by name. A folder's size is not asked for."""
        store, inside = split_place(place)
        found = self._listed(store, inside)
        if found is None:
            raise _nothing_at(place)
        entries = [_entry(store, entry) for entry in found]
        hidden = (entry for entry in entries if not PurePosixPath(entry.place).name.startswith("."))
        return sorted(hidden, key=lambda entry: entry.place)

    def walk(self, place: str) -> Sequence[StoreEntry]:
        """Return every file at and below a place, hidden ones too, by name; none where nothing is there."""
        store, inside = split_place(place)
        if not self.exists(place):
            return []
        return sorted((_entry(store, entry) for entry in self._files_at(store, inside)), key=lambda entry: entry.place)

    def read_bytes(self, place: str, offset: int = 0) -> bytes:
        """Return a file's bytes from ``offset`` on."""
        store, inside = split_place(place)
        try:
            with in_words():
                content = b"".join(self._volume(store).read_file(str(inside)))
        except FileNotFoundError as error:
            raise _nothing_at(place) from error
        return content[offset:]

    def write_bytes(self, place: str, data: bytes) -> None:
        """Write a file whole, in place of one that is there."""
        self.write_files({place: data})

    def write_files(self, contents: Mapping[str, bytes]) -> None:
        """Write several files of one store; they appear together."""
        stores = {split_place(place)[0] for place in contents}
        for store in stores:
            with in_words(), self._volume(store).batch_upload(force=True) as batch:
                for place, data in contents.items():
                    if split_place(place)[0] == store:
                        batch.put_file(BytesIO(data), f"/{split_place(place)[1]}")

    def get(self, place: str, destination: Path, *, force: bool = False) -> int:
        """Copy a file or a folder out of a store; return its bytes."""
        store, inside = split_place(place)
        found = self._listed(store, inside)
        if found is None:
            raise _nothing_at(place)
        is_file = len(found) == 1 and found[0].path.strip("/") == str(inside) and not _is_folder(found[0])
        if is_file and destination.is_dir():
            destination = destination / inside.name
        if destination.exists() and not force:
            raise usage_error(f"{destination} exists already", "add --force to replace it")
        if is_file:
            self._fetch(store, str(inside), destination)
        else:
            self._fetch_folder(store, inside, destination)
        return files.size_of_tree(destination)

    def put(self, source: Path, place: str, *, force: bool = False) -> int:
        """Copy a file or a folder into a store; return its bytes. Content that Modal knows does not travel."""
        if not source.exists():
            raise not_found(f"there is no {source} on this machine", f"ls {source.parent}")
        store, inside = split_place(place)
        if not inside.parts or (source.is_file() and self._is_folder_there(place)):
            inside = inside / source.absolute().name
        target = f"/{store}/{inside}"
        sent = _paths_of(source, inside)
        if not sent:
            raise usage_error(f"{source} holds no file", "a folder comes into a store with its first file")
        is_there = self.exists(target)
        if is_there and not force:
            raise usage_error(f"{target} exists already", "add --force to replace it")
        with in_words(), self._volume(store).batch_upload(force=force) as batch:
            if source.is_dir():
                batch.put_directory(source, f"/{inside}")
            else:
                batch.put_file(source, f"/{inside}")
        if is_there:
            self._remove_others(store, inside, sent)
        return files.size_of_tree(source)

    def take(self, source: Path, place: str) -> None:
        """Bring a file into a store; blocks that Modal knows do not travel."""
        store, inside = split_place(place)
        with in_words(), self._volume(store).batch_upload(force=True) as batch:
            batch.put_file(source, f"/{inside}")
        source.unlink()

    def remove(self, place: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        store, inside = split_place(place)
        if not self.exists(place):
            raise _nothing_at(place)
        with in_words():
            self._volume(store).remove_file(f"/{inside}", recursive=True)

    def _volume(self, store: str) -> modal.Volume:
        if store not in self._volumes:
            volume = VOLUMES[store].open()
            with in_words():
                volume.hydrate()
            self._volumes[store] = volume
        return self._volumes[store]

    def _listed(self, store: str, inside: PurePosixPath) -> Sequence[Any] | None:
        """Return the volume's entries at a path: those in a folder, or the file's own; ``None`` where nothing is."""
        from modal.exception import NotFoundError

        volume = self._volume(store)
        path = "/" if not inside.parts else f"/{inside}"
        try:
            with in_words():
                try:
                    return list(volume.listdir(path))
                except NotFoundError:
                    return [] if path == "/" else None
        except FileNotFoundError:
            return [] if path == "/" else None

    def _is_folder_there(self, place: str) -> bool:
        store, inside = split_place(place)
        return not inside.parts or _is_folder(self._own_entry(store, inside))

    def _own_entry(self, store: str, inside: PurePosixPath) -> Any:
        """Return the entry of a file or folder among its siblings; ``None`` where it is not there."""
        siblings = self._listed(store, inside.parent) or ()
        return next((entry for entry in siblings if PurePosixPath(entry.path).name == inside.name), None)

    def _remove_others(self, store: str, inside: PurePosixPath, kept: set[PurePosixPath]) -> None:
        """Remove what an upload was to replace, and did not overwrite."""
        for entry in self._files_at(store, inside):
            if PurePosixPath(entry.path.strip("/")) not in kept:
                with in_words():
                    self._volume(store).remove_file(entry.path)

    def _files_at(self, store: str, inside: PurePosixPath) -> Sequence[Any]:
        path = f"/{inside}" if inside.parts else "/"
        with in_words():
            return [entry for entry in self._volume(store).iterdir(path, recursive=True) if not _is_folder(entry)]

    def _fetch_folder(self, store: str, inside: PurePosixPath, destination: Path) -> None:
        found = self._files_at(store, inside)
        with files.new_folder(destination) as beside, ThreadPoolExecutor(_TRANSFERS) as pool:
            base = PurePosixPath("/") / inside

            def fetch(entry: Any) -> None:
                relative = (PurePosixPath("/") / entry.path.lstrip("/")).relative_to(base)
                self._fetch(store, entry.path, beside / relative)

            list(pool.map(fetch, found))

    def _fetch(self, store: str, path: str, destination: Path) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with files.new_file(destination) as beside, in_words(), beside.open("wb") as stream:
            self._volume(store).read_file_into_fileobj(path, stream)


def _paths_of(source: Path, inside: PurePosixPath) -> set[PurePosixPath]:
    """Return where the files at and below a source will lie in a volume."""
    if not source.is_dir():
        return {inside}
    return {inside / path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}


def _is_folder(entry: Any) -> bool:
    from modal.types import FileEntryType

    return entry is not None and bool(entry.type == FileEntryType.DIRECTORY)


def _entry(store: str, entry: Any) -> StoreEntry:
    modified = datetime.fromtimestamp(entry.mtime, timezone.utc)
    folder = _is_folder(entry)
    return StoreEntry(f"/{store}/{entry.path.strip('/')}", folder, None if folder else entry.size, modified)


def _nothing_at(place: str) -> Exception:
    parent = place.rstrip("/").rpartition("/")[0] or place
    return not_found(f"there is no {place} in the stores on Modal", f"ocrvl volume ls {parent}")
