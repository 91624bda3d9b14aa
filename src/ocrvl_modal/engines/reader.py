"""Reads images with a model folder, by torch and transformers: greedy, in batches, and never stopped by one image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ocrvl_modal.engines.images import as_rgb, image_processor, load_image
from ocrvl_modal.engines.libraries import make_transformers_importable
from ocrvl_modal.errors import OcrvlError, data_error, not_found, usage_error
from ocrvl_modal.models import FamilyMember

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_NEW_TOKENS = 8192
"""Longest reading of one image; what the official pipeline allows."""

BATCH_SIZE = 8
"""Images read at once. A batch that does not fit the GPU's memory is halved."""

ImageSource: TypeAlias = "Path | bytes | Image"
"""An image's file, the bytes of one, or an open image."""

OnRead = Callable[[int, int], None]
"""Called with how many images are read, and of how many."""

_BROKEN_HINT = "take the model's files from where they came from once more"


@dataclass(frozen=True)
class Reading:
    """What a model read in one image, or why it could not.

    ``truncated`` says that the model was still writing when it reached the token limit, most often because it repeats
    itself.
    """

    text: str
    tokens: int = 0
    truncated: bool = False
    error: str | None = None


class Reader:
    """A loaded model. It uses the GPU where there is one, in bf16 where the GPU has it, else float32."""

    def __init__(self, model_folder: Path, member: FamilyMember) -> None:
        """Load the model; raise an error for a folder that holds no whole model."""
        self.member = member
        self._folder = model_folder
        self._device, dtype = _device_and_dtype()
        self._processor = image_processor(model_folder)
        self._tokenizer = load_tokenizer(model_folder)
        self._model = load_model(model_folder, dtype).to(self._device).eval()
        text_config = self._model.config.text_config
        self._image_token: int = self._model.config.image_token_id
        self._max_positions: int = text_config.max_position_embeddings
        self._end_tokens = _end_tokens(self._model)
        self._pad_token: int = text_config.pad_token_id or 0
        self._unprinted = control_tokens(self._tokenizer) | {self._pad_token, *self._end_tokens}

    def read(
        self,
        images: Sequence[ImageSource],
        prompt: str,
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = BATCH_SIZE,
        on_progress: OnRead | None = None,
    ) -> list[Reading]:
        """Read every image with one prompt, and return the readings in the images' order.

        Images of like size share a batch, the largest first, so that little is padding and a lack of memory shows
        early. An image that cannot be read has its ``error`` in place of a text.
        """
        order = sorted(range(len(images)), key=lambda index: (-self._patches(images[index]), index))
        readings: dict[int, Reading] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            read = self._read_batch([images[index] for index in batch], prompt, max_new_tokens)
            readings.update(zip(batch, read, strict=True))
            if on_progress:
                on_progress(len(readings), len(images))
        return [readings[index] for index in range(len(images))]

    def check(self) -> None:
        """Read a white image with the first prompt of the model, and raise where the model computes no numbers."""
        import torch
        from PIL import Image

        white = Image.new("RGB", (224, 112), "white")
        prompt = next(iter(self.member.prompts.values()))
        with torch.inference_mode():
            logits = self._model(**self._inputs([self._prepare(white)], prompt)).logits
        if not bool(torch.isfinite(logits).all()):
            raise OcrvlError(
                f"the model in {self._folder} computes infinities or no numbers at all",
                "its training diverged: begin from an earlier checkpoint, with a lower optimizer.learning_rate",
            )
        reading = self.read([white], prompt, max_new_tokens=4)[0]
        if reading.error:
            raise OcrvlError(f"the model in {self._folder} cannot read: {reading.error}", _BROKEN_HINT)

    def _patches(self, image: ImageSource) -> int:
        """Return how many patches an image makes, from its file's header; 0 where it cannot be read at all."""
        try:
            with _open(image) as opened:
                return int(self._processor.get_number_of_image_patches(opened.height, opened.width, {}))
        except Exception:  # noqa: BLE001 - a broken file makes Pillow raise nearly anything; reading it says what
            return 0

    def _read_batch(self, images: Sequence[ImageSource], prompt: str, max_new_tokens: int) -> list[Reading]:
        readings: dict[int, Reading] = {}
        prepared: dict[int, Any] = {}
        for index, image in enumerate(images):
            try:
                prepared[index] = self._prepare(image)
            except OcrvlError as error:
                readings[index] = Reading("", error=error.message)
        if prepared:
            read = self._generate_in_memory(list(prepared.values()), prompt, max_new_tokens)
            readings.update(zip(prepared, read, strict=True))
        return [readings[index] for index in range(len(images))]

    def _prepare(self, image: ImageSource) -> Any:
        rgb = load_image(image) if isinstance(image, (Path, bytes)) else as_rgb(image)
        try:
            return self._processor(images=[rgb], return_tensors="pt")
        except ValueError as error:
            raise data_error(f"{image if isinstance(image, Path) else 'it'} cannot be read: {error}") from error

    def _generate_in_memory(self, prepared: list[Any], prompt: str, max_new_tokens: int) -> list[Reading]:
        """Generate, in halves of the batch where the GPU's memory is too small for the whole."""
        import torch

        try:
            return self._generate(prepared, prompt, max_new_tokens)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        if len(prepared) == 1:
            return [Reading("", error="the GPU's memory is too small for this image")]
        half = len(prepared) // 2
        return [
            reading
            for part in (prepared[:half], prepared[half:])
            for reading in self._generate_in_memory(part, prompt, max_new_tokens)
        ]

    def _generate(self, prepared: list[Any], prompt: str, max_new_tokens: int) -> list[Reading]:
        import torch

        inputs = self._inputs(prepared, prompt)
        length = inputs["input_ids"].shape[1]
        limit = min(max_new_tokens, self._max_positions - length)
        if limit < 1:
            too_long = f"image and prompt take {length} of the model's {self._max_positions} tokens"
            return [Reading("", error=too_long) for _ in prepared]
        with torch.inference_mode():
            output = self._model.generate(**inputs, generation_config=self._generation_config(limit))
        return [self._reading(row, limit) for row in output[:, length:].tolist()]

    def _reading(self, row: list[int], limit: int) -> Reading:
        ends = [position for position, token in enumerate(row) if token in self._end_tokens]
        written = row[: ends[0]] if ends else row
        text = self._tokenizer.decode(
            [token for token in written if token not in self._unprinted], skip_special_tokens=False
        )
        return Reading(text, tokens=len(written), truncated=not ends and len(row) >= limit)

    def _inputs(self, prepared: list[Any], prompt: str) -> dict[str, Any]:
        """Lay prompts of like images side by side: padded on the left, so that all answers begin at one place."""
        import torch

        grids = torch.cat([item["image_grid_thw"] for item in prepared])
        merge = self._model.config.vision_config.spatial_merge_size**2
        rows = [self._prompt_ids(prompt, int(grid.prod()) // merge) for grid in grids]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[self._pad_token] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": (ids == self._image_token).int(),
            "pixel_values": torch.cat([item["pixel_values"] for item in prepared]),
            "image_grid_thw": grids,
        }
        return {name: tensor.to(self._device) for name, tensor in inputs.items()}

    def _prompt_ids(self, prompt: str, vision_tokens: int) -> list[int]:
        ids = self._tokenizer.encode(self.member.render_prompt(prompt), add_special_tokens=False).ids
        if ids.count(self._image_token) != 1:
            raise usage_error(
                f"the prompt {prompt!r} holds an image placeholder", "the image is placed before the prompt"
            )
        place = ids.index(self._image_token)
        return [*ids[:place], *[self._image_token] * vision_tokens, *ids[place + 1 :]]

    def _generation_config(self, max_new_tokens: int) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            use_cache=True,
            eos_token_id=sorted(self._end_tokens),
            pad_token_id=self._pad_token,
            max_new_tokens=max_new_tokens,
        )


def load_model(model_folder: Path, dtype: Any) -> Any:
    """Return the model in a folder, on the CPU, in ``dtype``; raise an error where a tensor is missing or left over."""
    make_transformers_importable()
    from safetensors import SafetensorError
    from transformers import PaddleOCRVLForConditionalGeneration

    if not (model_folder / "config.json").is_file():
        raise not_found(f"there is no model in {model_folder}: config.json is missing", "name a folder with a model")
    try:
        with quiet_transformers():
            model, info = PaddleOCRVLForConditionalGeneration.from_pretrained(
                model_folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True, local_files_only=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise OcrvlError(f"the model in {model_folder} cannot be loaded: {error}", _BROKEN_HINT) from error
    for what in ("missing", "unexpected", "mismatched"):
        if keys := sorted(str(key) for key in info[f"{what}_keys"]):
            shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise OcrvlError(f"the model in {model_folder} has {what} tensors: {shown}", _BROKEN_HINT)
    return model


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from printing bars and advice while it loads; errors still come as exceptions."""
    make_transformers_importable()
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(model_folder: Path) -> Any:
    """Return the model's tokenizer, of the ``tokenizers`` library: the file alone decides, and no loader's opinion."""
    from tokenizers import Tokenizer

    path = model_folder / "tokenizer.json"
    if not path.is_file():
        raise not_found(f"there is no {path}", _BROKEN_HINT)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain exceptions
        raise OcrvlError(f"{path} cannot be read: {error}", _BROKEN_HINT) from error


def _device_and_dtype() -> tuple[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return "cpu", torch.float32
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return "cuda", torch.bfloat16 if bf16 else torch.float32


def _end_tokens(model: Any) -> set[int]:
    """Return the tokens that end an answer, by the model's generation settings, else by its configuration."""
    configured = model.generation_config.eos_token_id
    if configured is None:
        configured = model.config.text_config.eos_token_id
    return set(configured) if isinstance(configured, list) else {configured}


def control_tokens(tokenizer: Any) -> set[int]:
    """Return the special tokens that are no part of a text; the places of spotting (``<|LOC_n|>``) are."""
    added = tokenizer.get_added_tokens_decoder()
    return {number for number, token in added.items() if token.special and not token.content.startswith("<|LOC_")}


@contextmanager
def _open(image: ImageSource) -> Iterator[Image]:
    import PIL.Image

    if isinstance(image, (Path, bytes)):
        with PIL.Image.open(BytesIO(image) if isinstance(image, bytes) else image) as opened:
            yield opened
    else:
        yield image
