"""Exporting with the Python that can: an engine's own libraries may be too old to load what it trained.

``OCRVL_READER_PYTHON`` names it, in an image that has two. The request and the report cross as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.engines import export
from ocrvl_modal.engines.export import ExportReport, Method
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs.answers import read_answer
from ocrvl_modal.models import FamilyMember, PixelLimits, get_member

VARIABLE = "OCRVL_READER_PYTHON"

_PATHS = ("checkpoint", "base", "out")
_LAST_LINES = 12


def export_model(
    *,
    checkpoint: Path,
    base: Path,
    method: Method,
    member: FamilyMember,
    out: Path,
    pixels: PixelLimits | None = None,
) -> ExportReport:
    """Export as :func:`ocrvl_modal.engines.export.export_model` does, by the Python that the environment names."""
    python = os.environ.get(VARIABLE)
    if not python:
        return export.export_model(
            checkpoint=checkpoint, base=base, method=method, member=member, out=out, pixels=pixels
        )
    request = {
        **{name: str(path.absolute()) for name, path in zip(_PATHS, (checkpoint, base, out), strict=True)},
        "method": method,
        "family": member.name,
        "pixels": pixels and asdict(pixels),
    }
    return ExportReport(**_run(python, request))


def _run(python: str, request: dict[str, Any]) -> dict[str, Any]:
    """Run this module by another Python and return the report; raise the error that it raised there."""
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        files.write_json(Path(folder, "request.json"), request)
        try:
            done = subprocess.run(
                [python, "-m", __name__, folder],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise OcrvlError(f"{VARIABLE} names {python}, which cannot be run: {error}", "name a Python") from error
        return _read_answer(Path(folder, "answer.json"), python, done)


def _environment() -> dict[str, str]:
    """Return the environment of the other Python: it finds this package, and asks no third."""
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return {**kept, "PYTHONPATH": paths}


def _read_answer(path: Path, python: str, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if not path.is_file():
        last = "\n".join(done.stderr.splitlines()[-_LAST_LINES:])
        raise OcrvlError(f"the export by {python} ended with exit code {done.returncode}\n{last}".rstrip())
    return read_answer(json.loads(path.read_text(encoding="utf-8")))


def answer(folder: Path) -> None:
    """Do what ``request.json`` in a folder asks, and write ``answer.json`` beside it."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    paths = {name: Path(request[name]) for name in _PATHS}
    limits = request["pixels"] and PixelLimits(**request["pixels"])
    member = get_member(request["family"])
    try:
        report = export.export_model(**paths, method=request["method"], member=member, pixels=limits)
    except OcrvlError as error:
        files.write_json(folder / "answer.json", {"error": error.to_dict()})
    else:
        files.write_json(folder / "answer.json", {"result": report.to_dict()})


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
