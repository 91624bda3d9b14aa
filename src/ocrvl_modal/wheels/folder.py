"""The wheels in a folder of this machine, held against its lock manifest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.errors import OcrvlError, not_found
from ocrvl_modal.pins import FrameworkWheel
from ocrvl_modal.wheels.checking import problem_of_wheel
from ocrvl_modal.wheels.manifest import Entry, read_manifest, record
from ocrvl_modal.wheels.names import is_build_of

WHEELS_FOLDER = Path("wheels")
"""Where wheels lie, below the folder that a command is given in."""


@dataclass(frozen=True)
class LocalWheel:
    """A file of this machine and what its manifest says of it; ``problem`` is empty for one that can be relied on."""

    path: Path
    entry: Entry | None
    problem: str = ""

    @property
    def file_name(self) -> str:
        """The name that it was published under."""
        return self.path.name

    @property
    def is_verified(self) -> bool:
        """Whether the file is as it was when it was verified, as far as its size and its times of change tell.

        One that came here later may have any old time of its content, but none of its own.
        """
        if self.problem:
            return False
        found = self.path.stat()
        return max(found.st_mtime, found.st_ctime) <= self._recorded.verified_s

    @property
    def sha256(self) -> str:
        """The digest that was recorded."""
        return self._recorded.sha256

    @property
    def size_bytes(self) -> int:
        """The size that was recorded."""
        return self._recorded.size_bytes

    @property
    def cuda(self) -> str:
        """The CUDA that it is built for."""
        return self._recorded.cuda

    @property
    def source(self) -> str:
        """Where it came from."""
        return self._recorded.source

    @property
    def _recorded(self) -> Entry:
        if self.entry is None:
            raise OcrvlError(f"{self.path} is not in the manifest", f"ocrvl wheel verify {self.path}")
        return self.entry


def find_local(folder: Path, wanted: FrameworkWheel) -> LocalWheel | None:
    """Return the wanted build where it is in a folder, recorded and verified; ``None`` where it is not.

    A file that was not touched since it was verified is not read again.
    """
    for name, entry in read_manifest(folder).items():
        if entry.cuda == wanted.cuda and is_build_of(name, wanted):
            wheel = inspect(folder / name, entry)
            if not wheel.problem:
                return wheel
    return None


def list_local(folder: Path) -> list[LocalWheel]:
    """Return all wheels that lie in a folder or that its manifest names, by name; their content is not read."""
    entries = read_manifest(folder)
    names = {path.name for path in folder.glob("*.whl")} | set(entries)
    return [_glance(folder / name, entries.get(name)) for name in sorted(names)]


def local_wheels(paths: Sequence[Path]) -> list[LocalWheel]:
    """Return the wheels at these paths, which all are there."""
    for path in paths:
        if not path.is_file():
            raise not_found(f"there is no {path}", "ocrvl wheel ls")
    return [_glance(path, read_manifest(path.parent).get(path.name)) for path in paths]


def inspect(path: Path, entry: Entry) -> LocalWheel:
    """Hold a file against its entry; it is digested where it was touched since it was verified."""
    glanced = _glance(path, entry)
    return glanced if glanced.problem or glanced.is_verified else verify(glanced)


def verify(wheel: LocalWheel) -> LocalWheel:
    """Hold every byte of a wheel against the manifest; note the time where all is well."""
    if wheel.problem or wheel.entry is None:
        return wheel
    digest = files.sha256_of(wheel.path)
    if digest != wheel.entry.sha256:
        return LocalWheel(wheel.path, wheel.entry, f"its sha256 is {digest}, and was {wheel.entry.sha256}")
    problem = problem_of_wheel(wheel.path, wheel.file_name)
    if problem:
        return LocalWheel(wheel.path, wheel.entry, problem)
    entry = wheel.entry.verified_now()
    # A folder that may only be read keeps its old time.
    with suppress(OSError):
        record(wheel.path.parent, wheel.file_name, entry)
    return LocalWheel(wheel.path, entry)


def _glance(path: Path, entry: Entry | None) -> LocalWheel:
    """Say of a wheel what can be said without reading it."""
    if not path.is_file():
        return LocalWheel(path, entry, "it is in the manifest, and not in the folder")
    if entry is None:
        return LocalWheel(path, None, "it is not in the manifest: nobody has verified it")
    size = path.stat().st_size
    if size != entry.size_bytes:
        return LocalWheel(path, entry, f"it has {size:,} bytes, and had {entry.size_bytes:,}")
    return LocalWheel(path, entry)
