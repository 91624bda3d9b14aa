"""The job that checks datasets where they lie: a store need not be a disk of the user's machine."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal.data.checks import DatasetReport, check_dataset, overlap
from ocrvl_modal.engines.tokens import token_counter
from ocrvl_modal.jobs.download import model_path
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.models import PixelLimits
from ocrvl_modal.places import Places


class CheckRequest(BaseModel):
    """Which datasets to check, by split, and what the model allows: its prompts, pixels and longest sample.

    Text is counted with the tokenizer of ``model``, where that is in the store.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    datasets: dict[str, str]
    prompts: tuple[str, ...]
    min_pixels: int
    max_pixels: int
    max_seq_len: int
    model: str


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Return each split's report, and a warning for each two that share images."""
    asked = CheckRequest.model_validate(request)
    count_tokens = token_counter(model_path(asked.places, asked.model))
    reports: dict[str, DatasetReport] = {}
    for split, reference in asked.datasets.items():
        reports[split] = check_dataset(
            asked.places.resolve(reference),
            prompts=asked.prompts,
            pixels=PixelLimits(asked.min_pixels, asked.max_pixels),
            max_seq_len=asked.max_seq_len,
            count_tokens=count_tokens,
            on_progress=report_progress,
        )
    shared = [warning for one, other in combinations(reports, 2) for warning in overlap(reports[one], reports[other])]
    return {"reports": {split: report.to_dict() for split, report in reports.items()}, "overlaps": shared}
