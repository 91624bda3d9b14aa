"""What is written of a part, and of which file: the note that a fetch goes on by after any kind of death.

Two sets of bytes are kept. ``written`` are in the part for every process of this machine, and so outlive a killed one.
``flushed`` are on the disk itself, and so outlive the machine: after it has started anew only they count.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ocrvl_modal.transfer.ranges import Ranges

_SCHEMA = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Identity:
    """Which file a server offers: where, how long, and by what it tells this content from another.

    ``etag`` and ``modified`` are the server's, where it gives them; ``sha256`` is the digest that the file must have,
    where it is known.
    """

    url: str
    size_bytes: int
    etag: str | None
    modified: str | None
    sha256: str | None

    def is_same_file(self, offered: Identity) -> bool:
        """Say whether what is here of this file is of the offered one too.

        Another address is another file, unless a digest says that both are the same.
        """
        digests = {self.sha256, offered.sha256}
        if self.size_bytes != offered.size_bytes or len(digests - {None}) > 1:
            return False
        if self.url != offered.url:
            return None not in digests
        return (self.etag or self.modified) == (offered.etag or offered.modified)


class Journal:
    """The journal of one part. A file that cannot be read, or is none of ours, counts as an empty one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity: Identity | None = None
        self.written = Ranges()
        self.flushed = Ranges()
        self._boot = _boot_id()
        self._descriptor: int | None = None
        self._longest = 0

    @classmethod
    def open(cls, path: Path, part_bytes: int) -> Journal:
        """Read the journal beside a part that has ``part_bytes``; it counts only where that is the file's size."""
        journal = cls(path)
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            identity = _checked_identity(Identity(**noted["identity"]))
            flushed = _checked(noted["flushed"], identity.size_bytes)
            written = _checked(noted["written"], identity.size_bytes)
            schema, boot = noted["schema"], noted["boot"]
        except (OSError, ValueError, TypeError, KeyError):
            return journal
        if schema != _SCHEMA or part_bytes != identity.size_bytes:
            return journal
        same_start = bool(boot) and boot == journal._boot
        journal.identity, journal.flushed = identity, flushed
        journal.written = written if same_start else flushed.copy()
        return journal

    def begin(self, identity: Identity | None) -> None:
        """Start over: nothing is here of this file. Without an identity nothing is noted, either."""
        self.identity, self.written, self.flushed = identity, Ranges(), Ranges()

    def save(self) -> None:
        """Write the journal in place, by one short write: a killed process leaves the old one or the new.

        A machine that dies may leave one that cannot be read, and nothing counts then.
        """
        if self.identity is None:
            return
        noted = {
            "schema": _SCHEMA,
            "identity": asdict(self.identity),
            "boot": self._boot,
            "written": list(self.written),
            "flushed": list(self.flushed),
        }
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            self._longest = os.fstat(self._descriptor).st_size
        # It never becomes shorter, so that nothing of an older one is left behind its end.
        text = (json.dumps(noted) + "\n").encode("ascii").ljust(self._longest)
        self._longest = len(text)
        os.pwrite(self._descriptor, text, 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _checked_identity(identity: Identity) -> Identity:
    """Return a noted identity; raise ``ValueError`` for one that none of ours has written."""
    optional = (identity.etag, identity.modified, identity.sha256)
    texts = (identity.url, *(text for text in optional if text is not None))
    if not all(isinstance(text, str) for text in texts) or type(identity.size_bytes) is not int:
        raise ValueError(f"{identity} makes no sense")
    return identity


def _checked(ranges: list[tuple[int, int]], size: int) -> Ranges:
    """Return noted ranges; raise ``ValueError`` where they cannot be of a file of this size."""
    for start, end in ranges:
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= size):
            raise ValueError(f"{start}-{end} is no part of {size} bytes")
    return Ranges(ranges)


def _boot_id() -> str:
    """Return what the kernel calls this start of the machine; nothing where it does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
