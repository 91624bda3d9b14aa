"""The job that examines where it runs: this machine, or a container of the very image that training uses."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.cores import usable_cores
from ocrvl_modal.doctor.findings import Result
from ocrvl_modal.doctor.registry import ENVIRONMENTS, get_check, select
from ocrvl_modal.doctor.subject import MACHINE, Subject
from ocrvl_modal.gpus import visible_gpus
from ocrvl_modal.jobs.check_processes import run_checks
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.places import Places

_FEWEST_AT_ONCE, _MOST_AT_ONCE = 2, 4


class DoctorRequest(BaseModel):
    """What to examine. ``checks`` are those that the user named; without any, all that make sense in ``subject`` run.

    ``subject`` is an image's name or that of this machine. ``engine`` trains on this machine, where one does. ``gpu``
    is the one that was rented; ``pins``, ``python`` and ``ernie_commit`` are what the image was made of. ``left_out``
    are checks that somebody else has done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    subject: str = MACHINE
    checks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    quick: bool = False
    engine: str | None = None
    gpu: str | None = None
    pins: dict[str, str] = {}
    python: str | None = None
    ernie_commit: str | None = None


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the checks and return their results; a check that fails is a result, and no error."""
    asked = DoctorRequest.model_validate(request)
    environment = ENVIRONMENTS[asked.subject]
    subject = Subject(
        places=asked.places,
        name=asked.subject,
        engine=environment.engine or asked.engine,
        framework=environment.framework,
        named=bool(asked.checks),
        rented_gpu=asked.gpu,
        gpus=tuple(visible_gpus()),
        pins=asked.pins,
        python=asked.python,
        ernie_commit=asked.ernie_commit,
    )
    selected = select(asked.checks, environment, quick=asked.quick)
    checks = [get_check(name) for name in selected if name not in asked.left_out]
    done: list[str] = []

    def tell(result: Result) -> None:
        done.append(result.check)
        report_progress(f"checks of {asked.subject}", len(done), len(checks))

    report_progress(f"checks of {asked.subject}", 0, len(checks))
    at_once = min(_MOST_AT_ONCE, max(_FEWEST_AT_ONCE, usable_cores()))
    results = run_checks(checks, subject, at_once=at_once, on_done=tell, environment=os.environ)
    return {"results": [result.model_dump(mode="json") for result in results]}
