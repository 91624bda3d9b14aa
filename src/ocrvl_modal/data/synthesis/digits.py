"""A made-up dataset to try things with: images of six digits, easy enough for the tiny model to learn in minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ocrvl_modal import files
from ocrvl_modal.data.rows import ROW_FORMATS, RowFormat, to_row
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.data.synthesis.made_datasets import IMAGES, MAKER, MARKER, require_made_dataset
from ocrvl_modal.errors import did_you_mean, usage_error

if TYPE_CHECKING:
    from PIL import Image, ImageFont

PROMPT = "OCR:"
_DIGITS = 6
# One digit a cell, and a cell a vision token: what the tiny model is able to learn.
_CELL_PIXELS = 28
_FONT_SIZE = 20
_JITTER_X = 2
_LOWEST_Y = 4
_LIGHTEST_INK = 80


@dataclass(frozen=True)
class SynthReport:
    """The dataset that was made: its files, and how many samples each has."""

    folder: Path
    samples: dict[str, int]
    row_format: RowFormat
    seed: int

    @property
    def train(self) -> Path:
        """The samples to learn from."""
        return self.folder / "train.jsonl"

    @property
    def validation(self) -> Path:
        """The samples for the evaluation loss."""
        return self.folder / "validation.jsonl"

    @property
    def test(self) -> Path:
        """The samples held out for scoring."""
        return self.folder / "test.jsonl"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "folder": str(self.folder),
            "train": str(self.train),
            "validation": str(self.validation),
            "test": str(self.test),
            "samples": dict(self.samples),
            "format": self.row_format,
            "seed": self.seed,
        }


def synthesize_digits(
    out: Path,
    *,
    train: int = 1024,
    validation: int = 64,
    test: int = 64,
    seed: int = 0,
    row_format: str = "messages",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> SynthReport:
    """Make the folder ``out`` with ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` and ``images/``.

    No string of digits occurs twice in all three together, so what is read right in the test file was not learned by
    heart. The same seed and numbers give the same bytes. The folder appears whole or not at all; an earlier one of
    this function is replaced. Raises a usage error for a folder with anything else in it.
    """
    form = known_format(row_format)
    sizes = {"train": train, "validation": validation, "test": test}
    _check_sizes(sizes)
    folder = out.resolve()
    require_made_dataset(out)
    with files.new_folder(folder) as beside:
        _write_dataset(beside, sizes, seed, form, on_progress)
    return SynthReport(out, sizes, form, seed)


def _write_dataset(
    folder: Path,
    sizes: dict[str, int],
    seed: int,
    row_format: RowFormat,
    on_progress: Callable[[str, int, int], None] | None,
) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size=_FONT_SIZE)
    random = Random(seed)
    total = sum(sizes.values())
    numbers = iter(random.sample(range(10**_DIGITS), total))
    done = 0
    (folder / IMAGES).mkdir()
    for split, size in sizes.items():
        rows: list[str] = []
        for index in range(size):
            text = f"{next(numbers):0{_DIGITS}d}"
            image = folder / IMAGES / f"{split}-{index:05d}.png"
            _render(text, random, font).save(image)
            rows.append(to_row(Sample(image, PROMPT, text, index + 1), row_format, folder) + "\n")
            done += 1
            if on_progress:
                on_progress("rendering images", done, total)
        files.write_text(folder / f"{split}.jsonl", "".join(rows))
    files.write_json(folder / MARKER, {"made_by": MAKER, "seed": seed, "samples": sizes, "format": row_format})


def _render(text: str, random: Random, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_CELL_PIXELS * len(text), _CELL_PIXELS), "white")
    draw = ImageDraw.Draw(image)
    for cell, digit in enumerate(text):
        margin = (_CELL_PIXELS - draw.textlength(digit, font=font)) / 2
        x = cell * _CELL_PIXELS + margin + random.randint(-_JITTER_X, _JITTER_X)
        y = random.randint(0, _LOWEST_Y)
        grey = random.randint(0, _LIGHTEST_INK)
        draw.text((x, y), digit, fill=(grey, grey, grey), font=font)
    return image


def known_format(name: str) -> RowFormat:
    """Return the row format called ``name``; raise a usage error for another word."""
    for known in ROW_FORMATS:
        if name == known:
            return known
    raise usage_error(f"there is no row format '{name}'", did_you_mean(name, ROW_FORMATS))


def _check_sizes(sizes: dict[str, int]) -> None:
    for split, size in sizes.items():
        if size < 1:
            raise usage_error(f"a {split} file needs at least one sample, not {size}", f"--{split} 64")
    if (total := sum(sizes.values())) > 10**_DIGITS:
        raise usage_error(
            f"{total} samples are more than the {10**_DIGITS} strings of {_DIGITS} digits", "ask for fewer samples"
        )
