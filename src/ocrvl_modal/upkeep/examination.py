"""The doctor's rounds: this machine with its engines, and containers of images on Modal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ocrvl_modal.backends.base import Backend, OnProgress
from ocrvl_modal.backends.local import LocalBackend
from ocrvl_modal.doctor.findings import Result, failed
from ocrvl_modal.doctor.registry import CHECKS, get_check
from ocrvl_modal.doctor.subject import MACHINE
from ocrvl_modal.errors import OcrvlError, did_you_mean, usage_error
from ocrvl_modal.image import IMAGES, get_image, training_image
from ocrvl_modal.models import DEFAULT_MODEL, FAMILY, default_engine
from ocrvl_modal.pins import ERNIE_COMMIT, PYTHON
from ocrvl_modal.settings import BackendChoice, home
from ocrvl_modal.upkeep.machine import MACHINE_CHECKS, Machine, check_machine

START = "start"
"""The name under which an image tells that no container of it came to run any check."""

_EVERY_IMAGE = "all"


@dataclass(frozen=True)
class Asked:
    """What the user asked for: checks by ``names`` or none for all, the three essential ones, a GPU to rent."""

    names: tuple[str, ...] = ()
    quick: bool = False
    gpu: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that no check has."""
        known = dict.fromkeys((*MACHINE_CHECKS, *CHECKS))
        for name in self.names:
            if name not in known:
                raise usage_error(f"there is no check named '{name}'", did_you_mean(name, known))

    @classmethod
    def of_an_image(cls, names: Sequence[str], *, quick: bool, gpu: str | None) -> Asked:
        """Return what to look for in an image; a check of this machine alone is refused."""
        for name in names:
            get_check(name)
        return cls(tuple(names), quick, gpu)

    @property
    def of_machine(self) -> tuple[str, ...]:
        """The checks that this process itself runs."""
        if self.names:
            return tuple(name for name in MACHINE_CHECKS if name in self.names)
        return () if self.quick else tuple(MACHINE_CHECKS)

    @property
    def of_jobs(self) -> tuple[str, ...]:
        """The named checks that a job runs, here or in an image."""
        return tuple(name for name in self.names if name in CHECKS)

    @property
    def wants_job(self) -> bool:
        """Whether there is anything for a job to do."""
        return bool(self.of_jobs) or not self.names


def chosen_images(names: Iterable[str]) -> list[str]:
    """Return the images of these names; without any, the one that the default model is trained in on Modal."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return [training_image(default_engine(FAMILY[DEFAULT_MODEL], "full", "modal")).name]
    return list(IMAGES) if _EVERY_IMAGE in wanted else [get_image(name).name for name in wanted]


def examine_machine(machine: Machine, asked: Asked, on_progress: OnProgress) -> list[Result]:
    """Run the checks of this machine; and, unless they are for Modal, those of what trains here, in a job of its own.

    Whatever keeps that job from its end is a result too.
    """
    of_machine = asked.of_machine
    done: list[Result] = []

    def tell(result: Result) -> None:
        done.append(result)
        on_progress("checks of settings and stores", len(done), len(of_machine))

    results = check_machine(machine, of_machine, tell)
    if machine.remote or not asked.wants_job:
        return results
    choice = machine.choice
    trains_here = isinstance(choice, BackendChoice) and choice.name == "local"
    request = {
        "subject": MACHINE,
        "checks": [name for name in asked.of_jobs if name not in of_machine] if asked.names else [],
        "left_out": list(of_machine),
        "quick": asked.quick,
        "engine": default_engine(FAMILY[DEFAULT_MODEL], "full", "local") if trains_here else None,
    }
    if asked.names and not request["checks"]:
        return results
    return results + _called(LocalBackend(home()), MACHINE, request, on_progress)


def examine_image(backend: Backend | OcrvlError, image: str, asked: Asked, on_progress: OnProgress) -> list[Result]:
    """Run checks in a container of an image; that it cannot be built or started is a result like any other."""
    if isinstance(backend, OcrvlError):
        return [Result.of(image, START, failed(backend.message, backend.hint), 0.0)]
    request = {
        "subject": image,
        "checks": list(asked.of_jobs),
        "quick": asked.quick,
        "gpu": asked.gpu,
        "pins": get_image(image).pinned(),
        "python": PYTHON,
        "ernie_commit": ERNIE_COMMIT,
    }
    return _called(backend, image, request, on_progress, gpu=asked.gpu)


def _called(
    backend: Backend, place: str, request: dict[str, Any], on_progress: OnProgress, *, gpu: str | None = None
) -> list[Result]:
    image = None if place == MACHINE else place
    try:
        answer = backend.call("doctor", request, on_progress=on_progress, gpu=gpu, image=image)
    except OcrvlError as error:
        message, *lines = error.message.splitlines()
        return [Result.of(place, START, failed(message, error.hint), 0.0, lines)]
    return [Result.model_validate(result) for result in answer["results"]]
