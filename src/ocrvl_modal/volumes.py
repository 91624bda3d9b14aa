"""The four stores on Modal: which volume holds each, of which version, and where containers see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ocrvl_modal.places import STORE_NAMES, Places

if TYPE_CHECKING:
    import modal


@dataclass(frozen=True)
class StoreVolume:
    """The volume of one store.

    ``version`` is that of Modal's volume file system. Version 2 sends a changed file in 8 MiB blocks and has no limit
    on files; its documentation still calls it a beta and gives no guarantee against loss. So what can be made again
    lies on version 2, and what a GPU was paid for, the outputs, on version 1.
    """

    store: str
    name: str
    version: int

    @property
    def mount(self) -> str:
        """The folder at which containers see the volume."""
        return f"/{self.store}"

    def open(self) -> modal.Volume:
        """Return the volume, which is created at its first use. Nothing is asked of the server yet."""
        import modal

        return modal.Volume.from_name(self.name, create_if_missing=True, version=self.version)


VOLUMES = {
    volume.store: volume
    for volume in (
        StoreVolume("data", "paddleocr-vl-data", version=2),
        StoreVolume("models", "paddleocr-vl-models", version=2),
        StoreVolume("outputs", "paddleocr-vl-outputs", version=1),
        StoreVolume("wheels", "paddleocr-vl-wheels", version=2),
    )
}

PLACES = Places(
    **{name: Path(VOLUMES[name].mount) for name in STORE_NAMES},
    scratch=Path("/tmp/ocrvl"),  # a container's own disk, which nobody else sees
    remote=True,
)
"""The folders that jobs see in a container."""


def mounts(*stores: str) -> dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]:
    """Return the mounts of these stores, as a Modal Function takes them."""
    return {VOLUMES[store].mount: VOLUMES[store].open() for store in stores}
