"""How wheels lie in the wheels store: by their digest, beside a note of what they are.

``/wheels/<sha256>/<file name>`` is the wheel, ``/wheels/<sha256>/<cuda>.json`` its note. The note is written last, so a
wheel without one has yet to arrive; CUDA is in its name since it is in no wheel's name, and a listing then says all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.pins import FrameworkWheel
from ocrvl_modal.wheels.manifest import Entry
from ocrvl_modal.wheels.names import is_build_of

STORE = "/wheels"
_WHEEL = re.compile(rf"{STORE}/([0-9a-f]{{64}})/([^/]+\.whl)")
_NOTE = re.compile(rf"{STORE}/([0-9a-f]{{64}})/(cu\d+)\.json")


@dataclass(frozen=True)
class StoredWheel:
    """A wheel in the store; ``place`` is its whole name there."""

    place: str
    file_name: str
    sha256: str
    size_bytes: int
    cuda: str

    def is_build_of(self, wanted: FrameworkWheel) -> bool:
        """Say whether it is the wanted build."""
        return self.cuda == wanted.cuda and is_build_of(self.file_name, wanted)


def place_of_wheel(sha256: str, file_name: str) -> str:
    """Return where a wheel lies in the store."""
    return f"{STORE}/{sha256}/{file_name}"


def place_of_note(sha256: str, cuda: str) -> str:
    """Return where the note of a wheel lies in the store."""
    return f"{STORE}/{sha256}/{cuda}.json"


def note_of(file_name: str, entry: Entry) -> bytes:
    """Return the content of a note: what the manifest of a folder says of a wheel."""
    return (json.dumps({"file_name": file_name, **asdict(entry)}, indent=2) + "\n").encode()


def wheels_among(found: Iterable[tuple[str, int]]) -> list[StoredWheel]:
    """Return the wheels among files of the store, which are given by place and size, by name."""
    sizes = dict(found)
    cudas = {matched[1]: matched[2] for place in sizes if (matched := _NOTE.fullmatch(place))}
    wheels = [
        StoredWheel(place, matched[2], matched[1], size, cudas[matched[1]])
        for place, size in sizes.items()
        if (matched := _WHEEL.fullmatch(place)) and matched[1] in cudas
    ]
    return sorted(wheels, key=lambda wheel: (wheel.file_name, wheel.cuda))


def require_no_other(stored: Iterable[StoredWheel], file_name: str, cuda: str, sha256: str) -> None:
    """Raise where the store has this build with another content: the first truth stays until somebody removes it."""
    for wheel in stored:
        if (wheel.file_name, wheel.cuda) == (file_name, cuda) and wheel.sha256 != sha256:
            raise OcrvlError(
                f"the wheels store has {file_name} for {cuda} with the sha256 {wheel.sha256}, and here it is {sha256}",
                f"where you trust the new one: ocrvl volume rm {STORE}/{wheel.sha256}, then again",
            )
