"""Checking datasets wherever they lie: on this machine, or by a job beside the store that holds them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ocrvl_modal.backends.base import Backend, OnProgress
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.part import Images
from ocrvl_modal.data.checking.report import DatasetReport
from ocrvl_modal.data.checking.whole import How, check_splits
from ocrvl_modal.data.digest import dataset_digest
from ocrvl_modal.data.schema import can_be_asked
from ocrvl_modal.data.shards.references import is_stored
from ocrvl_modal.engines.tokens import batch_counter
from ocrvl_modal.errors import data_error, usage_error
from ocrvl_modal.model_folders import model_path
from ocrvl_modal.models import FamilyMember, PixelLimits

LEAST_SAMPLES = 50
"""Fewer samples of a prompt are told as too few."""


@dataclass(frozen=True)
class Checking:
    """How datasets are checked: for which model, what is asked of them, and how closely images are looked at.

    ``digest`` asks for the training data's digest too, by which a run tells that the data is still the same.
    """

    model: str
    demands: Demands
    images: Images = "all"
    decode: bool = True
    digest: bool = False


def demands_of(
    member: FamilyMember, max_seq_len: int, *, extra_prompts: tuple[str, ...] = (), pixels: PixelLimits | None = None
) -> Demands:
    """Return what a model asks of data that it is tuned on; the tiny model knows nothing that it could forget.

    Raises a usage error for a prompt of the user's own that cannot be one.
    """
    for prompt in extra_prompts:
        if not can_be_asked(prompt):
            raise usage_error(f"'{prompt}' cannot be a prompt", "--extra-prompt 'Ledger Recognition:'")
    is_trained = member.repository is not None
    return Demands(
        prompts=(*member.prompts.values(), *extra_prompts),
        pixels=pixels or member.pixels,
        max_seq_len=max_seq_len,
        tasks=tuple(member.prompts.values()) if is_trained else (),
        least_samples=LEAST_SAMPLES if is_trained else 0,
        tail=member.assistant_tail,
    )


def check_datasets(
    backend: Backend, datasets: Mapping[str, str], checking: Checking, on_progress: OnProgress
) -> dict[str, DatasetReport]:
    """Return a report for each split; the first is training data, whose report tells which images others have too.

    Images are compared among the datasets that lie on the same side; whether a report is good is for the caller to say.
    """
    paths = {split: backend.readable_path(reference, on_progress) for split, reference in datasets.items()}
    here = {split: path for split, path in paths.items() if path is not None}
    there = {split: datasets[split] for split, path in paths.items() if path is None}
    first = next(iter(datasets))
    reports = _check_here(backend, here, checking, first, on_progress) if here else {}
    if there:
        found = backend.call("check", _request(there, checking, first), on_progress=on_progress)
        reports |= {split: DatasetReport.from_dict(report) for split, report in found["reports"].items()}
    return {split: _as_asked(reports[split], reference) for split, reference in datasets.items()}


def _as_asked(report: DatasetReport, reference: str) -> DatasetReport:
    """Return a report that calls a stored dataset by its name, not by where it was unpacked."""
    return replace(report, path=Path(reference)) if is_stored(reference) else report


def refuse_urls(report: DatasetReport, reference: str) -> None:
    """Raise a data error where images are named by URL: training reads files."""
    if found := report.group("image_url"):
        images = f"{found.count:,} {'image' if found.count == 1 else 'images'}"
        raise data_error(
            f"{report.path} names {images} by URL, and training reads files: {found.examples[0]}",
            f"ocrvl data localize {shlex.quote(reference)}",
        )


def _check_here(
    backend: Backend, paths: Mapping[str, Path], checking: Checking, first: str, on_progress: OnProgress
) -> dict[str, DatasetReport]:
    # Where the model's own tokenizer is here already; the trainer counts again in any case.
    count_many = batch_counter(model_path(backend.places, checking.model))
    how = How(checking.images, checking.decode, count_many, on_progress=on_progress)
    demands = checking.demands if first in paths else checking.demands.of_held_out()
    reports = check_splits(paths, demands, how)
    if checking.digest and first in paths:
        reports[first] = replace(reports[first], sha256=dataset_digest(paths[first]))
    return reports


def _request(datasets: Mapping[str, str], checking: Checking, first: str) -> dict[str, Any]:
    demands = checking.demands if first in datasets else checking.demands.of_held_out()
    return {
        "datasets": dict(datasets),
        "prompts": list(demands.prompts),
        "min_pixels": demands.pixels.minimum,
        "max_pixels": demands.pixels.maximum,
        "max_seq_len": demands.max_seq_len,
        "tasks": list(demands.tasks),
        "least_samples": demands.least_samples,
        "tail": demands.tail,
        "model": checking.model,
        "images": checking.images,
        "decode": checking.decode,
        "digest": checking.digest and first in datasets,
    }
