"""What an image is made of, as data: a base, layers in order, and what must be true of the finished image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from ocrvl_modal.pins import FRAMEWORK, Base, FrameworkWheel


def nothing() -> Mapping[str, str]:
    """Return an empty mapping that stays so."""
    return MappingProxyType({})


WheelOrigin = Literal["store", "folder", "index"]


@dataclass(frozen=True)
class WheelSource:
    """Where a build takes the framework's wheel from.

    ``store`` is the wheels store, which is mounted while the layer is built; ``folder`` a file of this machine, which
    goes to the store first; ``index`` PaddlePaddle's own package index. Only the last has no digest.
    """

    origin: WheelOrigin
    path: str = ""
    sha256: str = ""
    size_bytes: int | None = None

    @property
    def upload_bytes(self) -> int:
        """What crosses this machine's line, once."""
        return self.size_bytes or 0 if self.origin == "folder" else 0

    @property
    def download_bytes(self) -> int | None:
        """What the build fetches from outside; ``None`` where the size is not known."""
        return self.size_bytes if self.origin == "index" else 0


INDEX = WheelSource("index")


@dataclass(frozen=True)
class Layer:
    """One step of a build. A layer that changes rebuilds itself and those after it.

    ``reason`` is for the reader of a plan. ``kind`` says what it installs: ``system`` packages of the base's own
    distribution, ``python`` packages (``pins``), the ``framework``'s wheel, or what its ``commands`` do.

    Of Python packages: ``index`` is a package index in place of the public one, for the pinned packages alone;
    ``lacks`` are (beginnings of) names that the builds there do not require; ``python`` is an interpreter other than
    the image's own; ``requirements`` and ``source`` are a file and a folder in the image that are installed along.
    """

    name: str
    reason: str
    kind: Literal["system", "python", "framework", "commands"]
    packages: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=nothing)
    commands: tuple[str, ...] = ()
    index: str = ""
    lacks: tuple[str, ...] = ()
    python: str = ""
    requirements: str = ""
    source: str = ""
    wheel: FrameworkWheel | None = None
    with_dependencies: bool = True
    wheel_source: WheelSource = INDEX


@dataclass(frozen=True)
class ImageRecipe:
    """An image: what it is for, its base, its layers in order, its variables, and what is proven at its end.

    ``imports`` are modules and ``programs`` executables that must be there; ``reader_imports`` those of the second
    Python, where an image has one.
    """

    name: str
    purpose: str
    base: Base
    layers: tuple[Layer, ...]
    imports: tuple[str, ...]
    programs: tuple[str, ...] = ()
    reader: str = ""
    reader_imports: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=nothing)

    @property
    def framework(self) -> FrameworkWheel | None:
        """The framework's wheel that a layer installs."""
        return next((layer.wheel for layer in self.layers if layer.wheel), None)

    @property
    def wheel_source(self) -> WheelSource | None:
        """Where that wheel is taken from."""
        return next((layer.wheel_source for layer in self.layers if layer.wheel), None)

    def with_wheel(self, source: WheelSource) -> ImageRecipe:
        """Return the recipe that takes the framework's wheel from there."""
        layers = tuple(replace(layer, wheel_source=source) if layer.wheel else layer for layer in self.layers)
        return replace(self, layers=layers)

    def pinned(self, python: str = "") -> dict[str, str]:
        """Return the package versions that one of the image's Pythons ends with: of two layers, the later one's.

        The framework's is among those of the image's own Python, which ``python`` names by nothing.
        """
        pins = {
            name: version
            for layer in self.layers
            if layer.kind == "python" and layer.python == python
            for name, version in layer.pins.items()
        }
        return {**pins, FRAMEWORK: self.framework.version} if self.framework and not python else pins
