"""Where the four stores are mounted, and how ``/data/…`` names a place in one on every backend."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.errors import did_you_mean, usage_error

STORE_NAMES = ("data", "models", "outputs", "wheels")


class Places(BaseModel):
    """The folders a job may use: the four stores, and scratch space that may vanish when the job ends.

    ``remote`` says that the stores lie behind a network, where reading many small files takes long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    models: Path
    outputs: Path
    wheels: Path
    scratch: Path
    remote: bool = False

    @classmethod
    def under(cls, home: Path) -> Places:
        """Return the places of the local backend: ``home/stores/<name>`` and ``home/scratch``."""
        stores = home / "stores"
        return cls(
            data=stores / "data",
            models=stores / "models",
            outputs=stores / "outputs",
            wheels=stores / "wheels",
            scratch=home / "scratch",
        )

    def store(self, name: str) -> Path:
        """Return the folder of the store called ``name``; raise a usage error for another word."""
        if name not in STORE_NAMES:
            raise usage_error(f"there is no store named '{name}'", did_you_mean(name, STORE_NAMES))
        folder: Path = getattr(self, name)
        return folder

    def resolve(self, reference: str | Path) -> Path:
        """Return the real path of ``reference``: inside a store for ``/data/…`` and the like, else as it is.

        A reference that climbs out of its store (``/data/../x``) is a usage error.
        """
        if not is_place(reference):
            return Path(reference)
        store, inside = split_place(reference)
        return self.store(store) / inside


def is_place(reference: str | Path) -> bool:
    """Say whether ``reference`` names a place in a store, such as ``/data/x.jsonl`` or ``/outputs``."""
    parts = PurePosixPath(str(reference)).parts
    return len(parts) >= 2 and parts[0] == "/" and parts[1] in STORE_NAMES


def split_place(reference: str | Path) -> tuple[str, PurePosixPath]:
    """Split ``/data/a/b`` into ``("data", "a/b")``.

    Raises a usage error where the text names no store or climbs out of it.
    """
    path = PurePosixPath(str(reference))
    if len(path.parts) < 2 or path.parts[0] != "/":
        raise usage_error(
            f"'{reference}' is not a place in a store", "write it as /data/…, /models/…, /outputs/… or /wheels/…"
        )
    store, inside = path.parts[1], path.parts[2:]
    if store not in STORE_NAMES:
        raise usage_error(f"there is no store named '{store}'", did_you_mean(store, STORE_NAMES))
    if ".." in inside:
        raise usage_error(f"'{reference}' leaves its store", "name a place inside the store, without '..'")
    return store, PurePosixPath(*inside)
