"""Bytes that clients sent: file contents by their digest, blobs by their id, and the volumes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from modal_proto import api_pb2 as api

from .volumes import Volume


class Store:
    """A folder of bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = ""  # of the HTTP server, once it listens
        self.volumes: dict[str, Volume] = {}
        self._contents, self._blobs, self._readings = root / "contents", root / "blobs", root / "readings"
        for folder in (self._contents, self._blobs, self._readings, root / "volumes"):
            folder.mkdir(exist_ok=True)

    def new_volume(self, volume_id: str, name: str, version: api.VolumeFsVersion.ValueType) -> Volume:
        self.volumes[volume_id] = Volume(volume_id, name, version, self.root / "volumes" / volume_id)
        return self.volumes[volume_id]

    def add(self, data: bytes) -> None:
        self.content(hashlib.sha256(data).hexdigest()).write_bytes(data)

    def has(self, digest: str) -> bool:
        return self.content(digest).exists()

    def content(self, digest: str) -> Path:
        """Where the content with that SHA-256 digest is, or would be."""
        return self._contents / Path(digest).name

    def keep_for_reader(self, path: Path) -> str:
        """Keep a volume's file as it is now for one who reads it in parts; returns the id of the reading.

        Files of a volume are replaced and never written in place, so a link is enough.
        """
        reading = str(len(list(self._readings.iterdir())))
        os.link(path.resolve(), self.reading(reading))
        return reading

    def reading(self, reading_id: str) -> Path:
        return self._readings / Path(reading_id).name

    def blob(self, blob_id: str) -> Path:
        return self._blobs / Path(blob_id).name
