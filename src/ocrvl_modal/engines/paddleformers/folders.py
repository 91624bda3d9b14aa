"""What PaddleFormers reads, made ready on the local disk: a model folder that it may write into, and plain rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.engines.images import write_pixel_limits
from ocrvl_modal.engines.paddleformers import names
from ocrvl_modal.engines.weights import find_weight_files
from ocrvl_modal.errors import OcrvlError

_REQUIRED = ("packing_position_embedding.weight", "lm_head.weight")
"""Tensors that the family's own files have, that transformers leaves out when it saves, and PaddleFormers misses."""


def copy_model(job: EngineJob, folder: Path, *, on_cpu: bool) -> None:
    """Make ``folder`` a model that PaddleFormers loads: the store's weights by links, and files of its own.

    PaddleFormers writes ``flex-ckpt.auto_generated.metadata`` beside the weights, and knows pixel limits only by the
    names ``min_pixels`` and ``max_pixels``: for any other it has its own.
    Raises an error for weights that it would refuse.
    """
    _require_tensors(job.model)
    folder.mkdir(parents=True)
    for path in sorted(job.model.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.suffix == ".safetensors":
            (folder / path.name).symlink_to(path.resolve())
        else:
            shutil.copyfile(path, folder / path.name)
    limits = job.recipe.pixels
    write_pixel_limits(folder, job.member.pixels.within(limits.minimum, limits.maximum))
    if on_cpu:
        _turn_off_gpu_kernels(folder / "config.json")


def write_rows(source: Path, target: Path) -> None:
    """Write a dataset's rows as PaddleFormers reads them most safely: one form, absolute images, our own image mark."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": names.IMAGE_MARK + sample.prompt},
                {"role": "assistant", "content": sample.target},
            ],
            "images": [str(sample.image)],
        }
        for sample in read_samples(source)
    ]
    files.write_text(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _turn_off_gpu_kernels(config_file: Path) -> None:
    """The fused norm has no CPU kernel, and PaddleFormers refuses the key anywhere but here."""
    config = json.loads(config_file.read_text(encoding="utf-8"))
    files.write_json(config_file, {**config, "fuse_rms_norm": False})


def _require_tensors(model: Path) -> None:
    present = [name for path in find_weight_files(model) for name in _tensor_names(path)]
    missing = [name for name in _REQUIRED if not any(other.endswith(name) for other in present)]
    if missing:
        raise OcrvlError(
            f"PaddleFormers cannot load {model}: its weights lack {', '.join(missing)}",
            "take the model from its own repository, or --engine transformers",
        )


def _tensor_names(path: Path) -> list[str]:
    """Return the names in a safetensors file: 8 bytes of length, then so many bytes of JSON (no library needed)."""
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    except (ValueError, OverflowError, MemoryError) as error:
        raise OcrvlError(f"{path} is not a safetensors file", "take it from where it came from again") from error
    return [name for name in header if name != "__metadata__"]
