"""The checks without which training must not start: every row read, every image decoded, every length added up."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.data.rows import check_command, scan, shorten
from ocrvl_modal.data.schema import Problem, Sample
from ocrvl_modal.errors import data_error, did_you_mean
from ocrvl_modal.models import PixelLimits

OnProgress = Callable[[str, int, int], None]

_SHOWN_PROBLEMS = 5
_MOST_THREADS = 8
_NOT_ROWS = {"empty", "json_array", "blank_line"}
# Begin of sentence, image start, image end, and the end after the target.
_FRAMING_TOKENS = 4
# Either form of the assistant's tail takes as many tokens.
_TEXT_AROUND_PROMPT = "User: {prompt}\nAssistant: "


@dataclass(frozen=True)
class Extent:
    """A quantity over all samples."""

    total: int
    max: int

    @classmethod
    def of(cls, values: Collection[int]) -> Extent:
        """Add up ``values`` and find the greatest."""
        return cls(sum(values), max(values, default=0))

    def to_dict(self) -> dict[str, int]:
        """Return the extent as it stands in JSON output."""
        return {"total": self.total, "max": self.max}


@dataclass(frozen=True)
class DatasetReport:
    """What a dataset file holds and what is wrong with it.

    The numbers speak of the ``samples``, which are the rows without a problem. ``sha256`` is the
    :func:`dataset_digest`. ``sequence_tokens_max`` is the longest sample as the model sees it; where
    no tokenizer counted the text (``tokens_counted``), it is an estimate of one token a character.
    """

    path: Path
    sha256: str
    rows: int
    samples: int
    by_prompt: Mapping[str, int]
    vision_tokens: Extent
    target_characters: Extent
    sequence_tokens_max: int
    tokens_counted: bool
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    images: Mapping[str, Path] = field(repr=False)
    """Each image that could be decoded, by the digest of its bytes."""

    @property
    def is_valid(self) -> bool:
        """Whether every row can be trained on."""
        return not self.problems

    @property
    def counts(self) -> dict[str, int]:
        """How many problems there are of each kind, the commonest first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    def raise_if_invalid(self) -> None:
        """Raise a data error that lists the first problems and counts them all by kind."""
        if self.is_valid:
            return
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        shown = [f"  {problem}" for problem in self.problems[:_SHOWN_PROBLEMS]]
        if more := len(self.problems) - len(shown):
            shown.append(f"  and {more} more")
        raise data_error("\n".join([f"{self.path} cannot be trained on: {kinds}", *shown]), check_command(self.path))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "valid": self.is_valid,
            "rows": self.rows,
            "samples": self.samples,
            "by_prompt": dict(self.by_prompt),
            "vision_tokens": self.vision_tokens.to_dict(),
            "target_characters": self.target_characters.to_dict(),
            "sequence_tokens_max": self.sequence_tokens_max,
            "tokens_counted": self.tokens_counted,
            "counts": self.counts,
            "problems": [problem.to_dict() for problem in self.problems],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatasetReport:
        """Rebuild a report from :meth:`to_dict`; which images were decoded does not travel."""
        return cls(
            path=Path(data["path"]),
            sha256=data["sha256"],
            rows=data["rows"],
            samples=data["samples"],
            by_prompt=data["by_prompt"],
            vision_tokens=Extent(**data["vision_tokens"]),
            target_characters=Extent(**data["target_characters"]),
            sequence_tokens_max=data["sequence_tokens_max"],
            tokens_counted=data["tokens_counted"],
            problems=tuple(Problem(**problem) for problem in data["problems"]),
            warnings=tuple(data["warnings"]),
            images={},
        )


@dataclass(frozen=True)
class _Image:
    """What an image file turned out to be: its digest and its tokens, or the kind of problem and the reason."""

    digest: str = ""
    vision_tokens: int = 0
    problem: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Checked:
    """A sample with its sizes and its problems."""

    sample: Sample
    vision_tokens: int
    sequence_tokens: int
    problems: tuple[Problem, ...]


def check_dataset(
    path: Path,
    *,
    prompts: Collection[str],
    pixels: PixelLimits,
    max_seq_len: int,
    count_tokens: Callable[[str], int] | None = None,
    on_progress: OnProgress | None = None,
) -> DatasetReport:
    """Read every row and decode every image of a dataset file, and report all that is wrong with it.

    ``prompts`` are those that the model knows, with the user's own. ``count_tokens`` tells how many tokens a text
    takes; without it a sample is only found too long when its image alone is. Raises *not found* where there is no
    file, and a data error for a folder or an unreadable file; anything inside the file is in the report instead.
    """
    items = list(scan(path))
    samples = [item for item in items if isinstance(item, Sample)]
    row_problems = [item for item in items if isinstance(item, Problem)]
    images = _inspect_images(dict.fromkeys(sample.image for sample in samples), pixels, on_progress)
    checked = list(_check_samples(samples, images, prompts, max_seq_len, count_tokens))
    good = [item for item in checked if not item.problems]
    problems = [*row_problems, *(problem for item in checked for problem in item.problems)]
    return DatasetReport(
        path=path,
        sha256=dataset_digest(path),
        rows=sum(not (isinstance(item, Problem) and item.kind in _NOT_ROWS) for item in items),
        samples=len(good),
        by_prompt=dict(Counter(item.sample.prompt for item in good).most_common()),
        vision_tokens=Extent.of([item.vision_tokens for item in good]),
        target_characters=Extent.of([len(item.sample.target) for item in good]),
        sequence_tokens_max=max((item.sequence_tokens for item in good), default=0),
        tokens_counted=count_tokens is not None,
        problems=tuple(sorted(problems, key=lambda problem: problem.line or 0)),
        warnings=tuple(_repeats(samples, images)),
        images={image.digest: file for file, image in images.items() if not image.problem},
    )


def dataset_digest(path: Path) -> str:
    """Return a digest of a dataset: of its file's bytes and its images' sizes, wherever the two lie.

    It is cheap, so that each attempt at a run can tell whether the dataset is still the one that was checked. Raises
    what :func:`~ocrvl_modal.data.rows.scan` raises.
    """
    digest = hashlib.sha256(files.sha256_of(path).encode())
    for image in dict.fromkeys(item.image for item in scan(path) if isinstance(item, Sample)):
        digest.update(f"\n{_size_bytes(image)}".encode())
    return digest.hexdigest()


def overlap(train: DatasetReport, held_out: DatasetReport) -> list[str]:
    """Return a warning where images of ``held_out`` are in ``train`` too, by their bytes, whatever their names."""
    shared = [image for digest, image in held_out.images.items() if digest in train.images]
    if not shared:
        return []
    return [
        f"{held_out.path} and {train.path} share {len(shared)} {'image' if len(shared) == 1 else 'images'}"
        f" (such as {shared[0]}): scores on them say nothing of new images"
    ]


def _inspect_images(paths: Collection[Path], pixels: PixelLimits, on_progress: OnProgress | None) -> dict[Path, _Image]:
    """Decode each file once. Decoding lets go of the interpreter's lock, so threads share it out."""
    from PIL import Image

    Image.init()
    found: dict[Path, _Image] = {}
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for path, image in zip(paths, pool.map(partial(_inspect, pixels), paths), strict=True):
                found[path] = image
                if on_progress:
                    on_progress("checking images", len(found), len(paths))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _inspect(pixels: PixelLimits, path: Path) -> _Image:
    from PIL import Image

    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return _Image(problem=("image_missing", f"there is no image {path}"))
    except OSError as error:
        return _Image(problem=("image_unreadable", f"image {path} cannot be read: {error.strerror}"))
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            width, height = image.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        return _Image(problem=("image_too_large", f"image {path} has over {limit} million pixels: scale it down"))
    except Image.UnidentifiedImageError:
        return _Image(problem=("image_unreadable", f"{path} is not an image in a format that Pillow reads"))
    except Exception as error:  # noqa: BLE001 - each format's decoder fails in ways of its own
        return _Image(problem=("image_unreadable", f"image {path} is damaged: {error}"))
    try:
        tokens = pixels.vision_tokens(height, width)
    except (ValueError, ZeroDivisionError) as error:
        return _Image(problem=("image_shape", f"image {path} of {width} x {height} pixels cannot be used: {error}"))
    return _Image(hashlib.sha256(content).hexdigest(), tokens)


def _check_samples(
    samples: Iterable[Sample],
    images: Mapping[Path, _Image],
    prompts: Collection[str],
    max_seq_len: int,
    count_tokens: Callable[[str], int] | None,
) -> Iterator[_Checked]:
    count = count_tokens or len
    prompt_tokens: dict[str, int] = {}
    for sample in samples:
        if sample.prompt not in prompt_tokens:
            prompt_tokens[sample.prompt] = count(_TEXT_AROUND_PROMPT.format(prompt=sample.prompt))
        image = images[sample.image]
        problems: list[Problem] = []
        if sample.prompt not in prompts:
            problems.append(_unknown_prompt(sample, prompts))
        if image.problem:
            problems.append(Problem(sample.line, *image.problem))
        without_text = image.vision_tokens + _FRAMING_TOKENS
        tokens = without_text + prompt_tokens[sample.prompt] + count(sample.target)
        certain = tokens if count_tokens else without_text
        if certain > max_seq_len:
            takes = f"{certain} tokens" if count_tokens else f"at least {certain} tokens"
            problems.append(_too_long(sample.line, takes, image.vision_tokens, max_seq_len))
        yield _Checked(sample, image.vision_tokens, tokens, tuple(problems))


def _unknown_prompt(sample: Sample, prompts: Collection[str]) -> Problem:
    return Problem(
        sample.line,
        "unknown_prompt",
        f"unknown prompt {shorten(sample.prompt)!r}: {did_you_mean(sample.prompt, prompts)}",
        "a labelling convention of your own needs a prompt of its own, and this to train with it:"
        " --set data.extra_prompts='[\"My prompt:\"]'",
    )


def _too_long(line: int, takes: str, vision_tokens: int, max_seq_len: int) -> Problem:
    return Problem(
        line,
        "too_long",
        f"the sample takes {takes}, {vision_tokens} of them for the image, and {max_seq_len} are allowed",
        "cut the image and its target into parts, or --set data.max_seq_len=… where the GPU has the memory",
    )


def _repeats(samples: Iterable[Sample], images: Mapping[Path, _Image]) -> Iterator[str]:
    """Warn of samples that ask the same of the same image again, which is worst where they answer differently."""
    first: dict[tuple[str | Path, str], Sample] = {}
    again: list[tuple[Sample, Sample]] = []
    for sample in samples:
        earlier = first.setdefault((images[sample.image].digest or sample.image, sample.prompt), sample)
        if earlier is not sample:
            again.append((sample, earlier))
    if again:
        sample, earlier = again[0]
        contradicting = sum(later.target != before.target for later, before in again)
        yield (
            f"samples that repeat the image and prompt of an earlier one: {len(again)}, with another target:"
            f" {contradicting} (line {sample.line} repeats line {earlier.line})"
        )


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
