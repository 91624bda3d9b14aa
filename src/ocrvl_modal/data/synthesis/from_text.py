"""A dataset made of a text and fonts: lines, or small tables, drawn on paper and scanned badly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.data.rows import RowFormat, to_row
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.data.shaping.drawing_lots import apportioned, lot
from ocrvl_modal.data.shaping.scripts import by_script
from ocrvl_modal.data.synthesis.fonts import find_fonts, require_shaping
from ocrvl_modal.data.synthesis.lines import DrawableLines, drawable_lines
from ocrvl_modal.data.synthesis.made_datasets import IMAGES, MAKER, MARKER, require_made_dataset
from ocrvl_modal.data.synthesis.rendering import Page, draw_line, draw_table
from ocrvl_modal.data.synthesis.tables import Phrase, phrases_of, random_table
from ocrvl_modal.data.synthesis.wear import worn
from ocrvl_modal.errors import OcrvlError, data_error, did_you_mean, usage_error

OnProgress = Callable[[str, int, int], None]

KINDS = ("lines", "tables")
_PROMPTS = {"lines": "OCR:", "tables": "Table Recognition:"}
_SHOWN_MISSING = 12
_JPEG_QUALITIES = (55, 92)
# Lines that a cell is taken from may stand in tables of one split only, so each split needs a few.
_FEWEST_LINES = 3


@dataclass(frozen=True)
class TextSynthReport:
    """The dataset that was made.

    ``lines`` of the text were drawn, in ``fonts``; ``dropped`` lines have a character that no font has, and
    ``missing`` tells in how many lines each of these occurs; ``reserved`` lines hold a mark of the model's own.
    ``characters`` counts those of the drawn lines by script.
    """

    folder: Path
    kind: str
    samples: Mapping[str, int]
    row_format: RowFormat
    seed: int
    lines: int
    fonts: tuple[str, ...]
    dropped: int
    missing: Mapping[str, int]
    reserved: int
    characters: Mapping[str, int]

    @property
    def train(self) -> Path:
        """The samples to learn from."""
        return self.folder / "train.jsonl"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "folder": str(self.folder),
            **{split: str(self.folder / f"{split}.jsonl") for split in self.samples},
            "kind": self.kind,
            "samples": dict(self.samples),
            "format": self.row_format,
            "seed": self.seed,
            "lines": self.lines,
            "fonts": list(self.fonts),
            "dropped": self.dropped,
            "missing": dict(self.missing),
            "reserved": self.reserved,
            "characters": dict(self.characters),
        }


def synthesize_text(
    text: Path,
    out: Path,
    fonts: Sequence[Path],
    *,
    kind: str = "lines",
    samples: Mapping[str, int],
    seed: int = 0,
    row_format: RowFormat = "messages",
    on_progress: OnProgress | None = None,
) -> TextSynthReport:
    """Make the folder ``out`` with ``samples`` drawn from the lines of ``text``, a file for each split.

    A line is drawn only in fonts that have all its characters, and stands in one split only, so what is read right in
    the test file was not learned by heart. Where there are fewer lines than samples, a line is drawn again, in another
    font and with other wear. The same text, fonts and seed give the same samples. The folder appears whole or not at
    all; an earlier made-up dataset is replaced.

    Raises *not found* for a missing file, a data error for a text or a font that cannot be used, and a usage error
    for a folder with anything else in it, or letters that this Pillow cannot shape.
    """
    if kind not in KINDS:
        raise usage_error(f"--kind {kind}: it is lines or tables", did_you_mean(kind, KINDS))
    require_made_dataset(out)
    found = drawable_lines(text, find_fonts(fonts))
    if len(found.lines) < _FEWEST_LINES * len(samples):
        raise _too_few(text, found, _FEWEST_LINES * len(samples))
    characters = by_script(Counter("".join(line for line, _ in found.lines)))
    require_shaping(characters)
    with files.new_folder(out.resolve()) as beside:
        _write(beside, _divided(found.lines, samples, seed), kind, samples, seed, row_format, on_progress)
        report = TextSynthReport(
            folder=out,
            kind=kind,
            samples=samples,
            row_format=row_format,
            seed=seed,
            lines=len(found.lines),
            fonts=tuple(sorted({font.name for _, able in found.lines for font in able})),
            dropped=found.dropped,
            missing=found.missing,
            reserved=found.reserved,
            characters=characters,
        )
        files.write_json(beside / MARKER, {"made_by": MAKER, **report.to_dict()})
    return report


def named_missing(missing: Mapping[str, int]) -> str:
    """Return the characters that no font has, each with its number in Unicode, the commonest first."""
    shown = [f"{character} (U+{ord(character):04X})" for character in list(missing)[:_SHOWN_MISSING]]
    more = len(missing) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _too_few(text: Path, found: DrawableLines, wanted: int) -> OcrvlError:
    message = f"{text} has {len(found.lines)} different lines that can be drawn, and at least {wanted} are needed"
    if not found.dropped:
        return data_error(message, "give a longer text")
    lacking = f"{message}; {found.dropped} lines have characters that no font has: {named_missing(found.missing)}"
    return data_error(lacking, "--fonts names a font that has them, or a folder of fonts")


def _divided(lines: Sequence[Phrase], samples: Mapping[str, int], seed: int) -> dict[str, list[Phrase]]:
    """Return the lines of each split, as many as its part of the samples is, and a few at least."""
    spare = len(lines) - _FEWEST_LINES * len(samples)
    shuffled = iter(sorted(lines, key=lambda line: lot(seed, line[0])))
    sizes = {split: _FEWEST_LINES + more for split, more in apportioned(samples, spare).items()}
    return {split: [next(shuffled) for _ in range(size)] for split, size in sizes.items()}


def _write(
    folder: Path,
    lines: Mapping[str, Sequence[Phrase]],
    kind: str,
    samples: Mapping[str, int],
    seed: int,
    row_format: RowFormat,
    on_progress: OnProgress | None,
) -> None:
    (folder / IMAGES).mkdir()
    done = 0
    for split, count in samples.items():
        random = Random(f"{seed} {split}")
        drawn = _tables(lines[split], random) if kind == "tables" else _text_lines(lines[split], random)
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
            for index in range(count):
                page, target = next(drawn)
                image = folder / IMAGES / f"{split}-{index:05d}.jpg"
                worn(page.image, page.paper, random).save(image, quality=random.randint(*_JPEG_QUALITIES))
                stream.write(to_row(Sample(image, _PROMPTS[kind], target, index + 1), row_format, folder) + "\n")
                done += 1
                if on_progress:
                    on_progress("rendering images", done, sum(samples.values()))


def _text_lines(lines: Sequence[Phrase], random: Random) -> Iterator[tuple[Page, str]]:
    """Yield drawn lines without end: all of them once before any a second time."""
    while True:
        for text, fonts in random.sample(lines, len(lines)):
            yield draw_line(text, random.choice(fonts), random), text


def _tables(lines: Sequence[Phrase], random: Random) -> Iterator[tuple[Page, str]]:
    phrases = phrases_of(lines)
    while True:
        table = random_table(phrases, random)
        yield draw_table(table.grid, table.fonts, random), table.grid.to_otsl()
