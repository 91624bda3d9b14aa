"""What was built last, for each image: kept on this machine, and in the wheels store for every other one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.building.steps import Step
from ocrvl_modal.pins import FrameworkWheel

SCHEMA = 1
MOST_KNOWN = 400

_NOTED = {"path": str, "sha256": str, "size_bytes": int}


@dataclass(frozen=True)
class BuiltStep:
    """A step as it was built: its digest, what was in it, and the id of the image that it ended in."""

    name: str
    digest: str
    image_id: str
    pins: Mapping[str, str] = field(default_factory=dict)
    brings: Mapping[str, str] = field(default_factory=dict)
    wheel_origin: str = ""
    wheel_sha256: str = ""


@dataclass(frozen=True)
class BuildRecord:
    """The last build of an image, and the digests of all steps that were ever built: those are in the cache."""

    image: str
    built_at: str
    builder: str
    base: str
    steps: tuple[BuiltStep, ...]
    known: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Return the record as it is written."""
        return (json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> BuildRecord | None:
        """Read a record; ``None`` for one that is damaged, or of another version of this package."""
        from pydantic import TypeAdapter

        try:
            content = json.loads(data)
            return TypeAdapter(cls).validate_python(content) if content["schema"] == SCHEMA else None
        except (ValueError, KeyError, TypeError):
            return None

    def knowing(self, digests: Iterable[str]) -> BuildRecord:
        """Return the record that knows these steps too."""
        return replace(self, known=tuple(dict.fromkeys((*self.known, *digests)))[:MOST_KNOWN])

    def newer(self, other: BuildRecord | None) -> BuildRecord:
        """Return the newer one of two records, which knows what either of them knew."""
        if other is None:
            return self
        last, first = (self, other) if self.built_at >= other.built_at else (other, self)
        return last.knowing(first.known)


def built(step: Step, image_id: str) -> BuiltStep:
    """Return a step as it stands in a record."""
    source = step.wheel_source
    return BuiltStep(
        step.name,
        step.digest,
        image_id,
        dict(step.pins),
        dict(step.brings),
        # A file of this machine went to the store first.
        ("index" if source.origin == "index" else "store") if source else "",
        source.sha256 if source else "",
    )


def record_of(
    image: str, built_at: str, builder: str, base: str, steps: Sequence[BuiltStep], before: BuildRecord | None
) -> BuildRecord:
    """Return the record of a build; ``before`` is the one that it takes the place of."""
    digests = tuple(step.digest for step in steps)
    record = BuildRecord(image, built_at, builder, base, tuple(steps), digests)
    return record.newer(before)


def place_of(image: str) -> str:
    """Return where the record of an image is in the wheels store."""
    return f"/wheels/builds/{image}.json"


class Records:
    """The records of this machine, of one workspace; see :func:`ocrvl_modal.building.account.account_key`."""

    def __init__(self, home: Path, account: str) -> None:
        self._folder = home / "builds" / account

    def read(self, image: str) -> BuildRecord | None:
        """Return the record of an image's last build, as far as this machine knows."""
        try:
            return BuildRecord.from_bytes(self._path(image).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, record: BuildRecord) -> None:
        """Keep a record."""
        files.write_bytes(self._path(record.image), record.to_bytes())

    def forget(self, image: str) -> None:
        """Remove the record of an image."""
        self._path(image).unlink(missing_ok=True)

    def stored_wheel(self, wanted: FrameworkWheel) -> dict[str, Any] | None:
        """Return what this machine knows of a wheel in the store: its ``path``, ``sha256`` and ``size_bytes``."""
        known = self._wheels().get(_key(wanted))
        is_sound = isinstance(known, dict) and all(isinstance(known.get(name), kind) for name, kind in _NOTED.items())
        return known if is_sound else None

    def note_wheel(self, wanted: FrameworkWheel, wheel: Mapping[str, Any] | None) -> None:
        """Keep what the wheels store was found to have of a build; ``None`` where it has nothing."""
        key = _key(wanted)
        wheels = self._wheels()
        if wheels.get(key) == wheel:
            return
        wheels.pop(key, None)
        if wheel:
            wheels[key] = dict(wheel)
        files.write_json(self._folder / "wheels.json", wheels)

    def _path(self, image: str) -> Path:
        return self._folder / f"{image}.json"

    def _wheels(self) -> dict[str, Any]:
        try:
            content = json.loads((self._folder / "wheels.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _key(wheel: FrameworkWheel) -> str:
    """Return a name of a build that tells its CUDA too: its file's name does not."""
    return f"{wheel.cuda}/{wheel.file_name}"
