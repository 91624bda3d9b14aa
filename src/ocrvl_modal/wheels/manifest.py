"""The lock manifest of a folder of wheels: what each wheel was when it was first verified, and so must stay."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from ocrvl_modal import files, locks
from ocrvl_modal.errors import OcrvlError

MANIFEST = "wheels.lock.json"
_SCHEMA = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """What is known of one wheel.

    ``source`` is the address it came from, without credentials and query; ``verified_at`` when its bytes were last held
    against its digest.
    """

    name: str
    version: str
    cuda: str
    python: str
    size_bytes: int
    sha256: str
    source: str
    verified_at: str

    @property
    def verified_s(self) -> float:
        """When it was verified, in seconds of the system's clock."""
        return datetime.fromisoformat(self.verified_at).timestamp()

    def verified_now(self) -> Entry:
        """Return the entry of a wheel that was held against its digest at this moment."""
        return replace(self, verified_at=now())


def now() -> str:
    """Return this moment, as a manifest has it."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def is_digest(text: str) -> bool:
    """Say whether a text is a SHA-256 in hexadecimal, in small letters."""
    return _SHA256.fullmatch(text) is not None


def read_manifest(folder: Path) -> dict[str, Entry]:
    """Return the entries of a folder's manifest by file name; none where there is no manifest."""
    path = folder / MANIFEST
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        if noted["schema"] != _SCHEMA:
            raise ValueError(f"its schema is {noted['schema']}, and this ocrvl knows {_SCHEMA}")
        entries = {str(name): Entry(**fields) for name, fields in noted["wheels"].items()}
        for name, entry in entries.items():
            _require_sound(name, entry)
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OcrvlError(
            f"{path} is damaged: {type(error).__name__}: {error}",
            f"mend it, or take it away and fetch anew: mv {path} {path}.damaged",
        ) from error
    return entries


def _require_sound(name: str, entry: Entry) -> None:
    texts = (entry.name, entry.version, entry.cuda, entry.python, entry.sha256, entry.source, entry.verified_at)
    is_typed = type(entry.size_bytes) is int and all(isinstance(text, str) for text in texts)
    if "/" in name or not is_typed or entry.size_bytes < 0 or not is_digest(entry.sha256):
        raise ValueError(f"the entry of {name} makes no sense")
    entry.verified_s  # noqa: B018 - raises where it is no date


def record(folder: Path, file_name: str, entry: Entry) -> None:
    """Put an entry into a folder's manifest, in place of one that is there."""
    busy = OcrvlError(f"another process writes {folder / MANIFEST} at this moment", "try again")
    with locks.held(folder / f".{MANIFEST}.lock", busy):
        entries = {**read_manifest(folder), file_name: entry}
        wheels = {name: asdict(entries[name]) for name in sorted(entries)}
        files.write_json(folder / MANIFEST, {"schema": _SCHEMA, "wheels": wheels})


def where_to_accept(folder: Path, file_name: str) -> str:
    """Return how a user takes a new truth in place of the recorded one: it is a decision, so it is done by hand."""
    path = folder / MANIFEST
    lines = path.read_text(encoding="utf-8").splitlines()
    number = next((number for number, line in enumerate(lines, 1) if f'"{file_name}"' in line), 1)
    return f"where you trust the new one, remove the entry of {file_name} from {path} (line {number})"
