"""What the pinned packages need in turn, as `make lock-images` has worked it out: package data, a file an image."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent / "locks"


@dataclass(frozen=True)
class Locked:
    """A package of a lock; ``size_bytes`` is that of the file that gets downloaded, where the index told it."""

    version: str
    size_bytes: int | None


def plain_name(name: str) -> str:
    """Return a package's name as indexes compare it: ``opt_einsum`` and ``Opt-Einsum`` are one."""
    return canonicalize_name(name)


@functools.cache
def read_lock(image: str) -> Mapping[str, Mapping[str, Locked]]:
    """Return the packages that each layer of an image brings, by layer and plain name; nothing where it has no lock."""
    path = FOLDER / f"{image}.txt"
    layers: dict[str, dict[str, Locked]] = {}
    if not path.is_file():
        return layers
    packages: dict[str, Locked] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            packages = layers.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            pin, _, size = line.partition(" ")
            name, _, version = pin.partition("==")
            packages[name] = Locked(version, int(size) if size else None)
    return layers


def write_lock(image: str, layers: Mapping[str, Mapping[str, Locked]], head: str, folder: Path = FOLDER) -> Path:
    """Write the lock of an image; ``head`` says in a line how it was made."""
    from ocrvl_modal.files import write_text

    lines = [f"# {head}"]
    for layer, packages in layers.items():
        lines.append(f"\n[{layer}]")
        for name in sorted(packages):
            size = packages[name].size_bytes
            lines.append(f"{name}=={packages[name].version}" + (f" {size}" if size else ""))
    path = folder / f"{image}.txt"
    write_text(path, "\n".join(lines) + "\n")
    read_lock.cache_clear()
    return path
