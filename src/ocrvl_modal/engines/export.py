"""Makes the model that other tools load: the base model's own files, with the tuned weights in the base's form.

PaddleX, vLLM and transformers each trip over something else in what a trainer leaves: shards, an index, other tensor
names, a tokenizer's configuration of the trainer's own, tensors that it dropped. So everything but the weights comes
from the base folder, and the weights get the base's names, shapes and number format, in one file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ocrvl_modal import files
from ocrvl_modal.engines.images import pixel_limits, write_pixel_limits
from ocrvl_modal.engines.paddleformers import adapter as of_paddleformers
from ocrvl_modal.engines.reader import Reader, load_model
from ocrvl_modal.engines.weights import INDEX, WEIGHTS, WeightFiles, canonical_name
from ocrvl_modal.errors import OcrvlError, not_found
from ocrvl_modal.models import FAMILY_FILE, FamilyMember, PixelLimits

Method = Literal["full", "lora"]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_HEAD = "lm_head.weight"
_EMBEDDINGS = "model.embed_tokens.weight"
_UNUSED = ("vision_model.head.", "packing_position_embedding")
"""Tensors of the base files that no part of the model reads; PaddleX and older vLLM ask for them all the same."""

_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pdparams", ".metadata")
_WRONG_BASE = "export with the base model that the checkpoint began from"
_SHOWN = 5


@dataclass(frozen=True)
class ExportReport:
    """What an export is made of. ``dtype`` is the number format of the tuned tensors, as torch names it."""

    tuned_tensors: int
    base_tensors: int
    size_bytes: int
    dtype: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return asdict(self)


def export_model(
    *,
    checkpoint: Path,
    base: Path,
    method: Method,
    member: FamilyMember,
    out: Path,
    pixels: PixelLimits | None = None,
) -> ExportReport:
    """Write the tuned model to ``out``, in place of what is there, after it has loaded and read once.

    ``pixels`` are the limits that training used: readers must use the same, so they go into the export where the base
    has others.
    Raises an error that names the tensors where checkpoint and base do not fit; then nothing is left at ``out`` that
    was not there before.
    """
    started = time.monotonic()
    with files.new_folder(out) as beside:
        _copy_all_but_weights(base, beside)
        files.write_json(beside / FAMILY_FILE, {"family": member.name})
        if pixels and pixels != pixel_limits(beside):
            write_pixel_limits(beside, pixels)
        with WeightFiles(base) as base_weights, _tuned_weights(checkpoint, base, method, out.parent) as tuned_weights:
            sources = _match(base_weights, tuned_weights)
            dtype = _write(base_weights, tuned_weights, sources, beside / WEIGHTS)
        _prove(beside, out, member)
        size_bytes = files.size_of_tree(beside)
    tuned_tensors = sum(source is not None for source in sources.values())
    return ExportReport(
        tuned_tensors=tuned_tensors,
        base_tensors=len(sources) - tuned_tensors,
        size_bytes=size_bytes,
        dtype=dtype,
        seconds=round(time.monotonic() - started, 3),
    )


def _copy_all_but_weights(base: Path, out: Path) -> None:
    """Copy the base's files; not its folders, which hold other models or a downloader's cache."""
    if not base.is_dir():
        raise not_found(f"there is no base model in {base}", "ocrvl download model --help")
    for path in sorted(base.iterdir()):
        hidden = path.name.startswith(".")
        if path.is_file() and not hidden and path.suffix not in _WEIGHT_ENDINGS and path.name != INDEX:
            shutil.copyfile(path, out / path.name)


@contextmanager
def _tuned_weights(checkpoint: Path, base: Path, method: Method, scratch: Path) -> Iterator[WeightFiles]:
    if method == "full":
        with WeightFiles(checkpoint) as weights:
            yield weights
        return
    with tempfile.TemporaryDirectory(prefix=".merged.", suffix=".tmp", dir=scratch) as merged:
        merge = of_paddleformers.merge_adapter if of_paddleformers.is_adapter(checkpoint) else _merge_adapter
        merge(checkpoint, base, Path(merged))
        with WeightFiles(Path(merged)) as weights:
            yield weights


def _merge_adapter(adapter: Path, base: Path, out: Path) -> None:
    """Add a LoRA adapter to the base in float32, so that nothing is rounded twice, and save the sum."""
    import torch
    from peft import PeftModel

    from ocrvl_modal.engines.reader import quiet_transformers

    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (adapter / name).is_file():
            raise not_found(f"there is no LoRA adapter in {adapter}: {name} is missing", "is its method full?")
    with quiet_transformers():
        try:
            adapted = PeftModel.from_pretrained(load_model(base, torch.float32), adapter)
        except (ValueError, RuntimeError, KeyError) as error:
            raise OcrvlError(f"the adapter in {adapter} does not fit {base}: {error}", _WRONG_BASE) from error
        _check_adapter(adapter, adapted)
        adapted.merge_and_unload().save_pretrained(out)


def _check_adapter(adapter: Path, adapted: Any) -> None:
    """Raise where a tensor of the adapter found no place in the model, of which PEFT itself only warns."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as opened:
        saved = set(opened.keys())
    expected = set(get_peft_model_state_dict(adapted))
    if saved != expected:
        names = _listing(sorted(saved ^ expected))
        raise OcrvlError(f"the adapter in {adapter} and the base model differ in {names}", _WRONG_BASE)


def _match(base: WeightFiles, tuned: WeightFiles) -> dict[str, str | None]:
    """Return, for each tensor of the base, the tuned tensor that takes its place; ``None`` where it stays."""
    tuned_names = {canonical_name(name): name for name in tuned.names}
    sources: dict[str, str | None] = {}
    missing: list[str] = []
    for name in base.names:
        key = canonical_name(name)
        sources[name] = tuned_names.get(key) or (_tied_head(tuned_names) if key == _HEAD else None)
        if sources[name] is None and not any(unused in key for unused in _UNUSED):
            missing.append(name)
    _raise_for("lacks tensors of the base model", missing)
    _raise_for("has tensors that the base model lacks", _left_over(tuned, tuned_names, sources))
    _raise_for("has tensors of another shape", _misshapen(base, tuned, sources))
    return sources


def _tied_head(tuned_names: dict[str, str]) -> str | None:
    """Return the tensor that is the head of a model saved without one: its embeddings.

    The base's own head must not stay: it would be the head of the weights before training.
    """
    return tuned_names.get(_EMBEDDINGS)


def _left_over(tuned: WeightFiles, tuned_names: dict[str, str], sources: dict[str, str | None]) -> list[str]:
    """Return tuned tensors that have no place in the base; a head that only repeats the embeddings needs none."""
    used = set(sources.values())
    left = [name for key, name in tuned_names.items() if name not in used and not _repeats_embeddings(tuned, key, name)]
    return sorted(left)


def _repeats_embeddings(tuned: WeightFiles, key: str, name: str) -> bool:
    embeddings = next((other for other in tuned.names if canonical_name(other) == _EMBEDDINGS), None)
    if key != _HEAD or embeddings is None or tuned.shape(name) != tuned.shape(embeddings):
        return False
    return bool(tuned.tensor(name).equal(tuned.tensor(embeddings)))


def _misshapen(base: WeightFiles, tuned: WeightFiles, sources: dict[str, str | None]) -> list[str]:
    return [
        f"{name} ({_sides(tuned.shape(source))} for {_sides(base.shape(name))})"
        for name, source in sources.items()
        if source is not None and tuned.shape(source) != base.shape(name)
    ]


def _write(base: WeightFiles, tuned: WeightFiles, sources: dict[str, str | None], path: Path) -> str:
    """Write all tensors into one file in the base's number formats; return the format of the tuned ones."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    formats: set[str] = set()
    for name, source in sources.items():
        tensor = base.tensor(name)
        if source is not None:
            formats.add(str(tensor.dtype).removeprefix("torch."))
            # A copy: the embeddings may be here twice, and tensors that share their memory are refused.
            tensor = tuned.tensor(source).to(tensor.dtype, copy=True)
        tensors[name] = tensor.contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return "+".join(sorted(formats))


def _prove(beside: Path, out: Path, member: FamilyMember) -> None:
    try:
        Reader(beside, member).check()
    except OcrvlError as error:
        message = error.message.replace(str(beside), str(out))
        raise OcrvlError(f"the export does not work, and was not kept: {message}", error.hint) from error


def _raise_for(what: str, names: list[str]) -> None:
    if names:
        raise OcrvlError(f"the checkpoint {what}: {_listing(names)}", _WRONG_BASE)


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
