"""The job that scores models on a dataset: each reads every sample, with the sample's own prompt."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ocrvl_modal import files
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.engines.reader import BATCH_SIZE, MAX_NEW_TOKENS, Reader, Reading, load_tokenizer
from ocrvl_modal.evals.metrics import Scores, character_error_rate, score
from ocrvl_modal.jobs.datasets import localized
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.models import FamilyMember, get_member, identify_folder
from ocrvl_modal.places import Places

PREDICTIONS = "predictions.jsonl"
SCORES = "scores.json"

Word = Literal["base", "tuned"]
"""What a model is called in request, rows and scores."""

ScoreTable = dict[Word, dict[str, int | float]]
Readings = dict[Word, list[Reading]]


@dataclass(frozen=True)
class _Model:
    folder: Path
    member: FamilyMember


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluateRequest(_Frozen):
    """Which models to score on which data.

    ``models`` maps a word to a model's folder or place; their ``family`` is told from each where
    it is not given. ``out`` becomes the suite's folder.
    ``limit`` takes that many samples, spread evenly over the data. Where ``max_new_tokens`` is not given, a model may
    write twice as much as the longest target, so that one that never ends costs little and still scores badly.
    """

    places: Places
    models: dict[Word, str] = Field(min_length=1)
    family: str | None = None
    data: str
    out: str
    limit: int | None = Field(None, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    batch_size: int = Field(BATCH_SIZE, ge=1)


class EvaluateResult(_Frozen):
    """The scores of each model, over all samples and by prompt.

    ``errors`` counts, for each model, the samples that it could not read; they were scored as empty readings.
    ``truncated`` counts those that it was still writing at ``max_new_tokens``.
    """

    out: str
    data: str
    models: dict[Word, str]
    samples: int
    limit: int | None
    max_new_tokens: int
    scores: ScoreTable
    by_prompt: dict[str, ScoreTable]
    errors: dict[Word, int]
    truncated: dict[Word, int]
    seconds: float


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Score models on the same samples; write ``predictions.jsonl`` and ``scores.json`` into ``out``, both or none."""
    asked = EvaluateRequest.model_validate(request)
    started = time.monotonic()
    data = localized(asked.places, asked.data, report_progress)
    samples = _spread(read_samples(data), asked.limit)
    models = _find_models(asked)
    max_new_tokens = asked.max_new_tokens or _twice_the_longest_target(samples, next(iter(models.values())).folder)
    readings = {
        word: _read(word, Reader(model.folder, model.member), samples, max_new_tokens, asked.batch_size)
        for word, model in models.items()
    }
    result = _result(asked, samples, readings, max_new_tokens, time.monotonic() - started).model_dump(mode="json")
    rows = [_row(index, sample, readings, data.absolute().parent) for index, sample in enumerate(samples)]
    with files.new_folder(asked.places.resolve(asked.out)) as suite:
        files.write_text(suite / PREDICTIONS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        files.write_json(suite / SCORES, {"schema": 1, **result})
    return result


def _find_models(asked: EvaluateRequest) -> dict[Word, _Model]:
    """Find every model before the first one reads: the reading may take long."""
    family = get_member(asked.family) if asked.family else None
    folders = {word: asked.places.resolve(reference) for word, reference in asked.models.items()}
    return {word: _Model(folder, family or identify_folder(folder)) for word, folder in folders.items()}


def _result(
    asked: EvaluateRequest, samples: Sequence[Sample], readings: Readings, max_new_tokens: int, seconds: float
) -> EvaluateResult:
    return EvaluateResult(
        out=asked.out,
        data=asked.data,
        models=asked.models,
        samples=len(samples),
        limit=asked.limit,
        max_new_tokens=max_new_tokens,
        scores={word: _score(read, samples).to_dict() for word, read in readings.items()},
        by_prompt=_score_by_prompt(readings, samples),
        errors={word: sum(reading.error is not None for reading in read) for word, read in readings.items()},
        truncated={word: sum(reading.truncated for reading in read) for word, read in readings.items()},
        seconds=round(seconds, 3),
    )


def _spread(samples: list[Sample], limit: int | None) -> list[Sample]:
    """Take ``limit`` samples at even distances: a dataset is often sorted, so that its head stands for nothing."""
    if limit is None or limit >= len(samples):
        return samples
    return [samples[index * len(samples) // limit] for index in range(limit)]


def _twice_the_longest_target(samples: Sequence[Sample], model: Path) -> int:
    tokenizer = load_tokenizer(model)
    longest = max(len(tokenizer.encode(sample.target, add_special_tokens=False).ids) for sample in samples)
    return min(MAX_NEW_TOKENS, 2 * longest + 16)


def _read(word: str, reader: Reader, samples: Sequence[Sample], max_new_tokens: int, batch_size: int) -> list[Reading]:
    """Return one model's readings of all samples, in their order."""
    what = f"reading with {word}"
    readings: dict[int, Reading] = {}
    for prompt, indices in _indices_by_prompt(samples).items():
        read = reader.read(
            [samples[index].image for index in indices],
            prompt,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            on_progress=partial(_report_on_top_of, what, len(readings), len(samples)),
        )
        readings.update(zip(indices, read, strict=True))
    return [readings[index] for index in range(len(samples))]


def _report_on_top_of(what: str, before: int, total: int, done: int, _: int) -> None:
    report_progress(what, before + done, total)


def _indices_by_prompt(samples: Sequence[Sample]) -> dict[str, list[int]]:
    indices: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        indices[sample.prompt].append(index)
    return dict(indices)


def _score(readings: Sequence[Reading], samples: Sequence[Sample]) -> Scores:
    return score((reading.text, sample.target) for reading, sample in zip(readings, samples, strict=True))


def _score_by_prompt(readings: Readings, samples: Sequence[Sample]) -> dict[str, ScoreTable]:
    return {
        prompt: {
            word: _score([read[index] for index in indices], [samples[index] for index in indices]).to_dict()
            for word, read in readings.items()
        }
        for prompt, indices in _indices_by_prompt(samples).items()
    }


def _row(index: int, sample: Sample, readings: Readings, folder: Path) -> dict[str, Any]:
    """Return a sample's row: an image in the dataset's folder is named as seen from there."""
    inside = sample.image.is_relative_to(folder)
    read = {word: of_model[index] for word, of_model in readings.items()}
    return {
        "line": sample.line,
        "image": sample.image.relative_to(folder).as_posix() if inside else sample.image.as_posix(),
        "prompt": sample.prompt,
        "target": sample.target,
        **{word: reading.text for word, reading in read.items()},
        "cer": {word: character_error_rate(reading.text, sample.target) for word, reading in read.items()},
        "truncated": [word for word, reading in read.items() if reading.truncated],
        "errors": {word: reading.error for word, reading in read.items() if reading.error},
    }
