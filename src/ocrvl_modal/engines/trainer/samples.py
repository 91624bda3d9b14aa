"""From a sample to the numbers that the model is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from ocrvl_modal.data.rows import check_command, read_samples
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.engines.images import image_processor, load_image
from ocrvl_modal.engines.reader import load_tokenizer
from ocrvl_modal.engines.trainer.config import TrainerConfig
from ocrvl_modal.errors import OcrvlError, data_error
from ocrvl_modal.models import MERGED_PATCH_PIXELS, PixelLimits

IMAGE_TOKEN = "<|IMAGE_PLACEHOLDER|>"
END_TOKEN = "</s>"

_CACHE_BYTES = 512 << 20

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Encoded:
    """One sample as the model takes it.

    ``tokens`` are prompt, placeholders, target and end token; ``prompt_length`` of them come before the target.
    ``positions`` are the three rows (time, height, width) of the rotary positions; ``pixels`` are the image's patches.
    """

    tokens: torch.Tensor
    prompt_length: int
    positions: torch.Tensor
    pixels: torch.Tensor
    grid: torch.Tensor

    @property
    def size_bytes(self) -> int:
        """Memory that it takes, nearly all of it pixels."""
        return int(self.pixels.nbytes + self.tokens.nbytes + self.positions.nbytes)


class SampleEncoder:
    """Encodes samples for one model, one prompt template and one pair of pixel limits."""

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        self._limits = PixelLimits(config.pixels.minimum, config.pixels.maximum)
        self._tokenizer = load_tokenizer(config.model)
        self._processor = image_processor(config.model, self._limits)
        self._image_token = self._token(IMAGE_TOKEN)
        self._end_token = self._token(END_TOKEN)
        self._prompts: dict[str, list[int]] = {}

    def measure(self, sample: Sample) -> tuple[int, int]:
        """Return how many tokens a sample has in all, and how many of them are target, from its image's header."""
        target = len(self._encode(sample.target)) + 1
        height, width = self._resized(sample)
        vision = (height // MERGED_PATCH_PIXELS) * (width // MERGED_PATCH_PIXELS)
        return len(self._prompt(sample.prompt)) - 1 + vision + target, target

    def encode(self, sample: Sample) -> Encoded:
        """Read the image and encode it with the text; raise a data error for an image that cannot be read."""
        image = load_image(sample.image)
        features = self._processor(images=[image], return_tensors="pt")
        grid = features["image_grid_thw"]
        before, after = self._around_image(sample.prompt)
        rows, columns = int(grid[0, 1]) // 2, int(grid[0, 2]) // 2
        target = [*self._encode(sample.target), self._end_token]
        prompt = [*before, *[self._image_token] * (rows * columns), *after]
        return Encoded(
            tokens=torch.tensor([*prompt, *target]),
            prompt_length=len(prompt),
            positions=rotary_positions(len(before), rows, columns, len(after) + len(target)),
            pixels=features["pixel_values"],
            grid=grid,
        )

    def _resized(self, sample: Sample) -> tuple[int, int]:
        from PIL import Image

        try:
            with Image.open(sample.image) as image:
                return self._limits.resize(image.height, image.width)
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            raise data_error(f"{sample.image} cannot be used: {error}") from error

    def _prompt(self, prompt: str) -> list[int]:
        if prompt not in self._prompts:
            self._prompts[prompt] = self._encode(self._config.render_prompt(prompt))
        return self._prompts[prompt]

    def _around_image(self, prompt: str) -> tuple[list[int], list[int]]:
        tokens = self._prompt(prompt)
        place = tokens.index(self._image_token)
        return tokens[:place], tokens[place + 1 :]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _token(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise OcrvlError(
                f"the tokenizer in {self._config.model} has no token {token}",
                "take tokenizer.json from the model's own repository",
            )
        return int(number)


class SampleSet:
    """The samples of one file: their lengths, known from the start, and their encodings, made when they are needed."""

    def __init__(self, path: Path, encoder: SampleEncoder, *, cache_bytes: int = 0) -> None:
        """Read and measure all samples; raise a data error for one that cannot be used.

        ``cache_bytes`` of encodings are kept, so that a small dataset is decoded once.
        """
        self.samples = read_samples(path)
        self._path = path
        self._encoder = encoder
        self._cache: dict[int, Encoded] = {}
        self._cache_bytes = cache_bytes
        measured = [self._named(encoder.measure, sample) for sample in self.samples]
        self.lengths = [length for length, _ in measured]
        self.target_lengths = [target for _, target in measured]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Encoded:
        if index in self._cache:
            return self._cache[index]
        encoded = self._named(self._encoder.encode, self.samples[index])
        if encoded.size_bytes <= self._cache_bytes:
            self._cache_bytes -= encoded.size_bytes
            self._cache[index] = encoded
        return encoded

    def check_lengths(self, max_seq_len: int) -> None:
        """Raise a data error that names the line of a sample that is too long: none is ever cut."""
        longest = max(self.lengths)
        for sample, length in zip(self.samples, self.lengths, strict=True):
            if length > max_seq_len:
                raise data_error(
                    f"{self._path}, line {sample.line}: the sample has {length} tokens, and data.max_seq_len is"
                    f" {max_seq_len}",
                    f"--set data.max_seq_len={longest}, or shorten what is too long",
                )

    def _named(self, read: Callable[[Sample], _Read], sample: Sample) -> _Read:
        """Read a sample; an error gets the sample's place."""
        try:
            return read(sample)
        except OcrvlError as error:
            message = f"{self._path}, line {sample.line}: {error.message}"
            raise OcrvlError(message, error.hint or check_command(self._path), error.code) from error


def load_samples(config: TrainerConfig, encoder: SampleEncoder, path: Path) -> SampleSet:
    """Return the samples of a file, none longer than the configuration allows."""
    samples = SampleSet(path, encoder, cache_bytes=0 if config.batch.num_workers else _CACHE_BYTES)
    samples.check_lengths(config.max_seq_len)
    return samples


def rotary_positions(before: int, rows: int, columns: int, after: int) -> torch.Tensor:
    """Return the positions of tokens before, in and after one image, for time, height and width.

    Text counts on in all three; the image's tokens stand at one time, each in its row and column; the text behind
    goes on after the longer side of the image.
    """
    head = torch.arange(before).expand(3, -1)
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    image = before + torch.stack([torch.zeros_like(row), row, column])
    tail = before + max(rows, columns) + torch.arange(after).expand(3, -1)
    return torch.cat([head, image, tail], dim=1)
