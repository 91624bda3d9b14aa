"""Checking datasets wherever they lie: on this machine, or by a job beside the store that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrvl_modal.backends.base import Backend, OnProgress
from ocrvl_modal.data.checks import DatasetReport, check_dataset, overlap
from ocrvl_modal.engines.tokens import token_counter
from ocrvl_modal.jobs.download import model_path
from ocrvl_modal.models import PixelLimits


@dataclass(frozen=True)
class Demands:
    """What a dataset is held against: a model's prompts, its image sizes, and the longest sample."""

    model: str
    prompts: tuple[str, ...]
    pixels: PixelLimits
    max_seq_len: int


def check_datasets(
    backend: Backend, datasets: Mapping[str, str], demands: Demands, on_progress: OnProgress
) -> tuple[dict[str, DatasetReport], tuple[str, ...]]:
    """Return a report for each split, and warnings of images that the first shares with another.

    Images are compared among the datasets that lie on the same side; whether a report is good is for the caller to say.
    """
    paths = {split: backend.readable_path(reference) for split, reference in datasets.items()}
    here = {split: path for split, path in paths.items() if path is not None}
    there = {split: datasets[split] for split, path in paths.items() if path is None}
    reports = _check_here(backend, here, demands, on_progress)
    first, *others = datasets
    shared = [
        warning
        for other in others
        if {first, other} <= here.keys()
        for warning in overlap(reports[first], reports[other])
    ]
    if there:
        found = backend.call("check", _request(there, demands), on_progress=on_progress)
        reports |= {split: DatasetReport.from_dict(report) for split, report in found["reports"].items()}
        shared += found["overlaps"]
    return reports, tuple(shared)


def _check_here(
    backend: Backend, paths: Mapping[str, Path], demands: Demands, on_progress: OnProgress
) -> dict[str, DatasetReport]:
    # Where the model's own tokenizer is here already; the trainer counts again in any case.
    count_tokens = token_counter(model_path(backend.places, demands.model))
    return {
        split: check_dataset(
            path,
            prompts=demands.prompts,
            pixels=demands.pixels,
            max_seq_len=demands.max_seq_len,
            count_tokens=count_tokens,
            on_progress=on_progress,
        )
        for split, path in paths.items()
    }


def _request(datasets: Mapping[str, str], demands: Demands) -> dict[str, Any]:
    return {
        "datasets": dict(datasets),
        "prompts": list(demands.prompts),
        "min_pixels": demands.pixels.minimum,
        "max_pixels": demands.pixels.maximum,
        "max_seq_len": demands.max_seq_len,
        "model": demands.model,
    }
