"""The job that makes the model that other tools load, out of a checkpoint."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.jobs.reader_python import export_model
from ocrvl_modal.models import PixelLimits, get_member
from ocrvl_modal.places import Places


class ExportRequest(BaseModel):
    """What to export, and where to. ``min_pixels`` and ``max_pixels`` where training used others than the base's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    checkpoint: str
    base: str
    method: Literal["full", "lora"]
    family: str
    out: str
    min_pixels: int | None = None
    max_pixels: int | None = None


class ExportResult(BaseModel):
    """Where the export is, and what it is made of; see :class:`ocrvl_modal.engines.export.ExportReport`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str
    tuned_tensors: int
    base_tensors: int
    size_bytes: int
    dtype: str
    seconds: float


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Export one checkpoint."""
    asked = ExportRequest.model_validate(request)
    places = asked.places
    report = export_model(
        checkpoint=places.resolve(asked.checkpoint),
        base=places.resolve(asked.base),
        method=asked.method,
        member=get_member(asked.family),
        out=places.resolve(asked.out),
        pixels=_pixels(asked),
    )
    return ExportResult(out=asked.out, **report.to_dict()).model_dump(mode="json")


def _pixels(asked: ExportRequest) -> PixelLimits | None:
    if asked.min_pixels is None and asked.max_pixels is None:
        return None
    own = get_member(asked.family).pixels
    return PixelLimits(asked.min_pixels or own.minimum, asked.max_pixels or own.maximum)
