"""The job that checks datasets where they lie: a store need not be a disk of the user's machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.part import Images
from ocrvl_modal.data.checking.whole import How, check_splits
from ocrvl_modal.data.digest import dataset_digest
from ocrvl_modal.engines.tokens import batch_counter
from ocrvl_modal.jobs.datasets import readable
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.model_folders import model_path
from ocrvl_modal.models import PixelLimits
from ocrvl_modal.places import Places


class CheckRequest(BaseModel):
    """Which datasets to check, by split, the training data first, and what the model asks of them.

    Text is counted with the tokenizer of ``model``, where that is in the store. ``images`` and ``decode`` tell how
    closely images are looked at, and ``digest`` asks for the first dataset's digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    datasets: dict[str, str]
    prompts: tuple[str, ...]
    min_pixels: int
    max_pixels: int
    max_seq_len: int
    tasks: tuple[str, ...] = ()
    least_samples: int = 0
    tail: str = "Assistant: "
    model: str
    images: Images = "all"
    decode: bool = True
    digest: bool = False


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Return each split's report; the first tells which of its images the others have too."""
    asked = CheckRequest.model_validate(request)
    count_many = batch_counter(model_path(asked.places, asked.model))
    pixels = PixelLimits(asked.min_pixels, asked.max_pixels)
    demands = Demands(asked.prompts, pixels, asked.max_seq_len, asked.tasks, asked.least_samples, asked.tail)
    paths = {split: readable(asked.places, reference, report_progress) for split, reference in asked.datasets.items()}
    how = How(asked.images, asked.decode, count_many, on_progress=report_progress)
    reports = check_splits(paths, demands, how)
    if asked.digest:
        first = next(iter(paths))
        reports[first] = replace(reports[first], sha256=dataset_digest(paths[first]))
    return {"reports": {split: report.to_dict() for split, report in reports.items()}}
