"""The PaddleOCR-VL family: what each member is called, how it is prompted, and what may train it.

Sources: the chat templates, pipeline configurations and processors of paddlex 3.7.2 and paddleformers 1.2.0, and the
papers of PaddleOCR-VL (arXiv 2510.14528) and PaddleOCR-VL-1.5 (arXiv 2601.21957).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ocrvl_modal.errors import did_you_mean, not_found, usage_error

MERGED_PATCH_PIXELS = 28
"""Side of the square of pixels that becomes one vision token: a 14-pixel patch, merged 2 by 2."""

MAX_ASPECT_RATIO = 200
"""The image processor refuses images that are longer than this many times their width, or the reverse."""

FAMILY_FILE = "ocrvl.json"
"""Beside the weights of a model that we made: names its family member, which nothing else in the folder does."""


def resized_size(height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return the height and width, in pixels, that the image processor gives an image of this size.

    The formula is ``smart_resize`` of the model's own image processor: both sides become multiples of 28, the area is
    brought between the limits, and the aspect ratio is kept as far as that allows.

    Raises a ``ValueError`` for an image that the processor refuses (aspect ratio over 200) or would resize to nothing,
    and for one that has no pixels.
    """
    if height < 1 or width < 1:
        raise ValueError("it has no pixels")
    factor = MERGED_PATCH_PIXELS
    if height < factor:
        height, width = factor, round(width * factor / height)
    if width < factor:
        height, width = round(height * factor / width), factor
    if max(height, width) / min(height, width) > MAX_ASPECT_RATIO:
        raise ValueError(f"one side is more than {MAX_ASPECT_RATIO} times the other")
    new_height = round(height / factor) * factor
    new_width = round(width / factor) * factor
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_height = math.floor(height / shrink / factor) * factor
        new_width = math.floor(width / shrink / factor) * factor
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    if not new_height or not new_width:
        raise ValueError("it is too thin to survive resizing")
    return new_height, new_width


def vision_tokens(height: int, width: int, min_pixels: int, max_pixels: int) -> int:
    """Return how many placeholder tokens an image of this size takes: one for each 28 by 28 pixels once resized.

    Raises a ``ValueError`` for an image that the processor refuses; see :func:`resized_size`.
    """
    new_height, new_width = resized_size(height, width, min_pixels, max_pixels)
    return (new_height // MERGED_PATCH_PIXELS) * (new_width // MERGED_PATCH_PIXELS)


@dataclass(frozen=True)
class PixelLimits:
    """How many pixels an image may have after resizing, from ``minimum`` to ``maximum``."""

    minimum: int
    maximum: int

    def resize(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that the image processor gives an image; see :func:`resized_size`."""
        return resized_size(height, width, self.minimum, self.maximum)

    def vision_tokens(self, height: int, width: int) -> int:
        """Return how many placeholder tokens an image takes; see :func:`vision_tokens`."""
        return vision_tokens(height, width, self.minimum, self.maximum)

    def within(self, minimum: int | None, maximum: int | None) -> PixelLimits:
        """Return these limits with those that a user gave in place of their own."""
        return PixelLimits(minimum or self.minimum, maximum or self.maximum)


@dataclass(frozen=True)
class FamilyMember:
    """One model of the family.

    ``assistant_tail`` is what stands between the prompt and the answer: training with another member's tail gives a
    model that hallucinates. ``engines`` maps each engine that may train it to the methods that are sound, and
    ``refused`` names the others with the reason. ``lora_parameters_per_rank`` says how many parameters one rank of an
    adapter has, by the recipe's ``lora.targets``: the sum of inputs and outputs of the adapted layers.
    ``training_defaults`` are recipe values, by method, that differ from
    the recipe's own defaults.
    """

    name: str
    title: str
    repository: str | None
    released: str
    assistant_tail: str
    prompts: Mapping[str, str]
    pixels: PixelLimits
    parameters: int
    download_bytes: int
    lora_parameters_per_rank: Mapping[str, int]
    engines: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, str] = field(default_factory=dict)
    training_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    def render_prompt(self, prompt: str) -> str:
        """Return the text that the model reads before it answers, for one image and one task's prompt.

        The single ``<|IMAGE_PLACEHOLDER|>`` is repeated by the processor, once for each vision token.
        """
        image = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
        return f"<|begin_of_sentence|>User: {image}{prompt}\n{self.assistant_tail}"


_BASE_PROMPTS = {
    "text": "OCR:",
    "table": "Table Recognition:",
    "formula": "Formula Recognition:",
    "chart": "Chart Recognition:",
}
_PROMPTS_OF_1_5 = {**_BASE_PROMPTS, "spotting": "Spotting:", "seal": "Seal Recognition:"}

# The official recipes: 5e-6 for all parameters, 5e-4 for LoRA of rank 8.
_REAL_DEFAULTS: dict[str, dict[str, Any]] = {
    "full": {"optimizer": {"learning_rate": 5e-6}},
    "lora": {"optimizer": {"learning_rate": 5e-4}},
}
# Settings under which the tiny model learns to read six digits in about 700 steps.
_TINY_COMMON: dict[str, Any] = {
    "batch": {"per_device": 16, "gradient_accumulation": 1, "num_workers": 0},
    "schedule": {"num_epochs": 11, "warmup_ratio": 0.05, "min_learning_rate_ratio": 0.0},
    "checkpoint": {"save_steps": 100},
    "data": {"max_seq_len": 512},
    "evaluation": {"eval_steps": 200},
}
_TINY_OPTIMIZER: dict[str, Any] = {"beta2": 0.98, "weight_decay": 0.01}
_TINY_DEFAULTS: dict[str, dict[str, Any]] = {
    "full": {**_TINY_COMMON, "optimizer": {**_TINY_OPTIMIZER, "learning_rate": 3e-3}},
    "lora": {**_TINY_COMMON, "optimizer": {**_TINY_OPTIMIZER, "learning_rate": 1e-2}},
}

# Language model, 18 layers: 20,992 each. Vision tower, 27 layers: 20,128 each. Projector: 14,848.
_REAL_LORA = {"language": 377_856, "all": 936_160}

_BOTH = ("full", "lora")
_ERNIEKIT_TAIL = (
    "ERNIEKit writes the 0.9B prompt tail 'Assistant: ' into every sample, and this model is asked with"
    " 'Assistant:\\n': the tuned model would hallucinate"
)
_WHY_NOT = {
    ("erniekit", "lora"): ": its adapters reach only a part of this model's layers, and it cannot merge them",
}
_NO_TOYS = "the tiny model is a toy, and ERNIEKit needs a GPU and its own source tree"

# 1.6 is 1.5 in architecture, template and recipe; only its weights are others.
_V1_5 = FamilyMember(
    name="paddleocr-vl-1.5",
    title="PaddleOCR-VL 1.5",
    repository="PaddlePaddle/PaddleOCR-VL-1.5",
    released="2026-01",
    assistant_tail="Assistant:\n",
    prompts=_PROMPTS_OF_1_5,
    pixels=PixelLimits(112_896, 1_003_520),
    parameters=958_000_000,
    download_bytes=1_940_000_000,
    lora_parameters_per_rank=_REAL_LORA,
    engines={"paddleformers": _BOTH, "transformers": _BOTH},
    refused={"erniekit": _ERNIEKIT_TAIL},
    training_defaults=_REAL_DEFAULTS,
    aliases=("1.5", "v1.5"),
)
_V1_6 = replace(
    _V1_5,
    name="paddleocr-vl-1.6",
    title="PaddleOCR-VL 1.6",
    repository="PaddlePaddle/PaddleOCR-VL-1.6",
    released="2026-06",
    aliases=("1.6", "v1.6"),
)

FAMILY: Mapping[str, FamilyMember] = MappingProxyType(
    {
        member.name: member
        for member in (
            FamilyMember(
                name="paddleocr-vl-0.9b",
                title="PaddleOCR-VL 0.9B",
                repository="PaddlePaddle/PaddleOCR-VL",
                released="2025-10",
                assistant_tail="Assistant: ",
                prompts=_BASE_PROMPTS,
                pixels=PixelLimits(147_384, 2_822_400),
                parameters=958_000_000,
                download_bytes=1_940_000_000,
                lora_parameters_per_rank=_REAL_LORA,
                engines={"paddleformers": _BOTH, "transformers": _BOTH, "erniekit": ("full",)},
                training_defaults=_REAL_DEFAULTS,
                aliases=("0.9b", "v1", "paddleocr-vl"),
            ),
            _V1_5,
            _V1_6,
            FamilyMember(
                name="tiny",
                title="tiny (a toy that ocrvl makes itself)",
                repository=None,
                released="made here",
                assistant_tail="Assistant: ",
                prompts=_BASE_PROMPTS,
                pixels=PixelLimits(2 * 28 * 28, 16 * 28 * 28),
                parameters=341_952,
                download_bytes=0,
                lora_parameters_per_rank={"language": 2_688, "all": 5_568},
                engines={"transformers": _BOTH, "paddleformers": _BOTH},
                refused={"erniekit": _NO_TOYS},
                training_defaults=_TINY_DEFAULTS,
            ),
        )
    }
)

DEFAULT_MODEL = "paddleocr-vl-1.6"


def task_of(prompt: str) -> str | None:
    """Return the task that a prompt asks of any member of the family, such as ``table``; ``None`` for another prompt.

    White space about a prompt makes it another one: the model was not trained on it.
    """
    return _TASKS.get(prompt)


_TASKS = {prompt: task for member in FAMILY.values() for task, prompt in member.prompts.items()}


def find_member(name: str) -> FamilyMember | None:
    """Return the member that ``name`` calls by its name, an alias or its repository, in any case; else ``None``."""
    wanted = name.lower()
    for member in FAMILY.values():
        known = (member.name, *member.aliases, (member.repository or member.name).lower())
        if wanted in known:
            return member
    return None


def get_member(name: str) -> FamilyMember:
    """Return the member called ``name``; raise *not found* with the nearest known name."""
    member = find_member(name)
    if member is None:
        raise not_found(
            f"there is no model named '{name}'",
            f"{did_you_mean(name, FAMILY)} (or give the folder of a model: ./my-model, /models/my-model)",
        )
    return member


def member_of(name: str, folder: Path, family: str | None = None) -> FamilyMember:
    """Return the member that a model belongs to: by its family where that is named, by its name, or by its folder.

    Raises *not found* where neither the name nor the folder is known.
    """
    if family:
        return get_member(family)
    return find_member(name) or (identify_folder(folder) if folder.is_dir() else get_member(name))


def identify_folder(folder: Path) -> FamilyMember:
    """Return the member that the model in ``folder`` belongs to.

    A model that we made says so in ``ocrvl.json``. Any other is told by the tail of its ``chat_template.jinja``; 1.5
    and 1.6 have the same template and architecture, so either stands for both. Raises *not found* where there is no
    model, and a usage error where its template is none of the family's.
    """
    if not (folder / "config.json").is_file():
        raise not_found(f"there is no model in {folder}: config.json is missing", "name a folder that holds a model")
    marker = folder / FAMILY_FILE
    if marker.is_file():
        return get_member(_family_in(marker))
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8", errors="replace") if template.is_file() else ""
    if "Assistant:\\n" in text:
        return FAMILY["paddleocr-vl-1.6"]
    if "Assistant: " in text:
        return FAMILY["paddleocr-vl-0.9b"]
    raise usage_error(
        f"{template} has no assistant turn of the PaddleOCR-VL family",
        "take chat_template.jinja from the model's own repository",
    )


def _family_in(marker: Path) -> str:
    try:
        return str(json.loads(marker.read_text(encoding="utf-8"))["family"])
    except (ValueError, KeyError, TypeError) as error:
        raise usage_error(f"{marker} does not name a family", "make or export the model again") from error


def default_engine(member: FamilyMember, method: str, backend: str) -> str:
    """Return the engine that suits best: the maintainers' own on Modal, and ours on the user's machine.

    ERNIEKit trains all parameters of 0.9B, as documented for it; PaddleFormers trains 1.5, 1.6 and every adapter.
    """
    if backend == "local" or member.name == "tiny":
        return "transformers"
    return "erniekit" if method in member.engines.get("erniekit", ()) else "paddleformers"


def check_pairing(member: FamilyMember, engine: str, method: str) -> None:
    """Raise a usage error, with the reason, where ``engine`` must not train ``member`` by ``method``."""
    if engine in member.refused:
        raise usage_error(
            f"{engine} cannot train {member.name}: {member.refused[engine]}",
            f"--engine {next(iter(member.engines))}",
        )
    methods = member.engines.get(engine, ())
    if method not in methods:
        raise usage_error(
            f"{engine} cannot train {member.name} with method '{method}'{_WHY_NOT.get((engine, method), '')}",
            f"--engine {next(name for name, known in member.engines.items() if method in known)}",
        )
