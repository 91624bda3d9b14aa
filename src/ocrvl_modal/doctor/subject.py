"""What is examined: this machine, or a container of an image, with what is expected of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.places import Places

MACHINE = "this machine"
"""The name of the subject that is no image."""


def rebuild(image: str) -> str:
    """Return what mends an image that is not as it was meant to be."""
    return f"ocrvl image build {image} --force"


class Subject(BaseModel):
    """All that a check may know.

    ``name`` is :data:`MACHINE` or an image's name. ``engine`` is the one that trains here, where one does, and
    ``framework`` (``torch`` or ``paddle``) the library that it computes with. ``named`` says that the user asked for
    the check by its name. ``rented_gpu`` is the GPU that was asked for, ``gpus`` those that are to be seen. ``pins``
    are the versions that the image installs, by package; ``python`` and ``ernie_commit`` likewise. ``scratch`` is an
    empty folder of the check's own, which goes when it ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    name: str = MACHINE
    engine: str | None = None
    framework: str = "torch"
    named: bool = False
    rented_gpu: str | None = None
    gpus: tuple[str, ...] = ()
    pins: dict[str, str] = {}
    python: str | None = None
    ernie_commit: str | None = None
    scratch: Path = Path()

    @property
    def is_image(self) -> bool:
        """Whether it is a container of an image, not the user's own machine."""
        return self.name != MACHINE

    def expects(self, engine: str | None) -> bool:
        """Say whether a missing ``engine`` is a fault here, and not just something that nobody wants."""
        return self.is_image or self.named or engine == self.engine
