from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ocrvl_modal.engines.export import export_model
from ocrvl_modal.engines.images import pixel_limits
from ocrvl_modal.engines.reader import Reader, load_model, quiet_transformers
from ocrvl_modal.engines.tiny import make_tiny_model
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FAMILY, PixelLimits, identify_folder

TINY = FAMILY["tiny"]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
UNUSED = "visual.vision_model.embeddings.packing_position_embedding.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The tiny model as a file without the head that repeats the embeddings; the tests that need one add it."""
    make_tiny_model(tmp_path / "base")
    change_weights(tmp_path / "base", lambda tensors: tensors.pop(HEAD))
    return tmp_path / "base"


@pytest.fixture
def tuned(base: Path, tmp_path: Path) -> Path:
    """A full checkpoint as transformers saves it: every weight moved a little, what it does not use left out."""
    return save_tuned(base, tmp_path / "checkpoint-9")


def save_tuned(base: Path, folder: Path) -> Path:
    model = load_model(base, torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    with quiet_transformers():
        model.save_pretrained(folder)
    return folder


def save_adapter(base: Path, folder: Path, targets: list[str], rank: int = 4) -> Any:
    """Save a LoRA adapter that changes something, and return the model that wears it."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, init_lora_weights=False)
    torch.manual_seed(2)
    with quiet_transformers():
        adapted = get_peft_model(load_model(base, torch.float32), config).eval()
        adapted.save_pretrained(folder)
    return adapted


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def change_weights(folder: Path, change: Any) -> None:
    tensors = weights(folder)
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def export(checkpoint: Path, base: Path, method: Any = "full", **more: Any) -> Path:
    out = checkpoint.parent / "export"
    export_model(checkpoint=checkpoint, base=base, method=method, member=TINY, out=out, **more)
    return out


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_export_has_the_bases_files_and_names_and_the_tuned_values(base: Path, tuned: Path) -> None:
    out = tuned.parent / "export"
    report = export_model(checkpoint=tuned, base=base, method="full", member=TINY, out=out)
    assert names_in(out) == names_in(base)
    before, trained, after = weights(base), weights(tuned), weights(out)
    assert after.keys() == before.keys()
    assert UNUSED not in trained
    assert all(tensor.equal(trained[name] if name != UNUSED else before[name]) for name, tensor in after.items())
    assert not after[EMBEDDINGS].equal(before[EMBEDDINGS])
    assert (report.tuned_tensors, report.base_tensors, report.dtype) == (len(after) - 1, 1, "float32")
    assert report.size_bytes == sum(path.stat().st_size for path in out.iterdir())


def test_an_export_reads_like_the_checkpoint(base: Path, tuned: Path, tmp_path: Path) -> None:
    out = export(tuned, base)
    assert identify_folder(out) is TINY
    for path in base.iterdir():
        if path.name not in {"model.safetensors", "config.json"}:
            shutil.copyfile(path, tuned / path.name)
    image = tmp_path / "image.png"
    Image.radial_gradient("L").save(image)
    reading = [Reader(folder, TINY).read([image], "OCR:", max_new_tokens=20) for folder in (out, tuned, base)]
    assert reading[0] == reading[1] != reading[2]


def test_a_lora_export_computes_what_the_adapted_model_computes(base: Path, tmp_path: Path) -> None:
    adapted = save_adapter(base, tmp_path / "checkpoint-9", ["q_proj", "down_proj", "fc1", "linear_1"])
    out = export(tmp_path / "checkpoint-9", base, "lora")
    assert weights(out).keys() == weights(base).keys()
    changed = {name for name, tensor in weights(out).items() if not tensor.equal(weights(base)[name])}
    parts = ("q_proj", "down_proj", "fc1", "linear_1")
    assert changed == {name for name in weights(base) if name.endswith(tuple(f"{part}.weight" for part in parts))}
    ids = torch.tensor([[1, 20, 30, 40]])
    with torch.no_grad():
        expected, got = adapted(input_ids=ids).logits, load_model(out, torch.float32)(input_ids=ids).logits
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_tuned_values_take_the_number_format_of_the_base(base: Path, tuned: Path) -> None:
    change_weights(base, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    out = export(tuned, base)
    trained = weights(tuned)
    assert {str(tensor.dtype) for tensor in weights(out).values()} == {"torch.bfloat16"}
    assert weights(out)[EMBEDDINGS].equal(trained[EMBEDDINGS].bfloat16())


def test_the_head_of_a_tied_model_is_never_the_one_before_training(base: Path, tmp_path: Path) -> None:
    change_weights(base, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS].clone()}))
    tuned = save_tuned(base, tmp_path / "checkpoint-9")
    assert HEAD not in weights(tuned)
    out = export(tuned, base)
    assert weights(out)[HEAD].equal(weights(tuned)[EMBEDDINGS])
    assert not weights(out)[HEAD].equal(weights(base)[HEAD])


def test_a_head_of_its_own_is_exported_as_it_was_trained(base: Path, tmp_path: Path) -> None:
    change_weights(base, lambda tensors: tensors.update({HEAD: torch.randn_like(tensors[EMBEDDINGS])}))
    tuned = save_tuned(base, tmp_path / "checkpoint-9")
    out = export(tuned, base)
    assert weights(out)[HEAD].equal(weights(tuned)[HEAD])
    assert not weights(out)[HEAD].equal(weights(out)[EMBEDDINGS])


def test_a_head_that_only_repeats_the_embeddings_is_left_out_where_the_base_has_none(base: Path, tuned: Path) -> None:
    change_weights(tuned, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS].clone()}))
    assert HEAD not in weights(export(tuned, base))


def test_a_head_of_its_own_that_the_base_cannot_hold_is_an_error(base: Path, tuned: Path) -> None:
    change_weights(tuned, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS] + 1}))
    with pytest.raises(OcrvlError, match=r"tensors that the base model lacks: lm_head\.weight"):
        export(tuned, base)


def test_names_as_transformers_keeps_them_in_memory_are_understood(base: Path, tuned: Path) -> None:
    trained = weights(tuned)
    in_memory = {}
    for name, tensor in trained.items():
        if name.startswith("visual."):
            name = f"model.{name}"
        elif name.startswith("mlp_AR."):
            name = name.replace("mlp_AR.", "model.projector.")
        else:
            name = name.replace("model.", "model.language_model.", 1)
        in_memory[name] = tensor
    save_file(in_memory, tuned / "model.safetensors", metadata={"format": "pt"})
    out = export(tuned, base)
    assert weights(out).keys() == weights(base).keys()
    assert all(weights(out)[name].equal(tensor) for name, tensor in trained.items())


def shard(folder: Path, *, index: bool) -> None:
    tensors = weights(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    if index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_on_either_side_become_one_file(base: Path, tuned: Path) -> None:
    before, trained = weights(base), weights(tuned)
    shard(base, index=True)
    shard(tuned, index=False)
    out = export(tuned, base)
    assert not [name for name in names_in(out) if "-of-" in name or "index" in name]
    assert weights(out).keys() == before.keys()
    assert all(weights(out)[name].equal(tensor) for name, tensor in trained.items())


def test_a_missing_shard_is_named(base: Path, tuned: Path) -> None:
    shard(tuned, index=True)
    (tuned / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(OcrvlError, match="model-00002-of-00002"):
        export(tuned, base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), r"lacks tensors of the base model: model\.norm\.weight"),
        (lambda tensors: tensors.update(extra=torch.ones(2)), "tensors that the base model lacks: extra"),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.ones(65)}),
            r"another shape: model\.norm\.weight \(65 for 64\)",
        ),
        (lambda tensors: tensors["model.norm.weight"].fill_(float("inf")), "the export does not work"),
    ],
    ids=["missing", "unexpected", "misshapen", "diverged"],
)
def test_a_checkpoint_that_does_not_fit_leaves_nothing_new(base: Path, tuned: Path, change: Any, message: str) -> None:
    out = tuned.parent / "export"
    out.mkdir()
    (out / "earlier").touch()
    before = names_in(tuned.parent)
    change_weights(tuned, change)
    with pytest.raises(OcrvlError, match=message):
        export(tuned, base)
    assert names_in(tuned.parent) == before
    assert names_in(out) == {"earlier"}


def test_an_export_replaces_the_one_before_it(base: Path, tuned: Path) -> None:
    (export(tuned, base) / "stale").touch()
    assert "stale" not in names_in(export(tuned, base))


def test_an_adapter_that_does_not_fit_the_base_is_an_error(base: Path, tmp_path: Path) -> None:
    save_adapter(base, tmp_path / "checkpoint-9", ["q_proj"])
    adapter = tmp_path / "checkpoint-9" / "adapter_model.safetensors"
    tensors = load_file(adapter)
    lost = sorted(tensors)[0]
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, adapter, metadata={"format": "pt"})
    with pytest.raises(OcrvlError, match=lost.replace(".", r"\.")):
        export(tmp_path / "checkpoint-9", base, "lora")
    assert names_in(tmp_path) == {"base", "checkpoint-9"}


def test_a_full_checkpoint_is_not_taken_for_an_adapter(base: Path, tuned: Path) -> None:
    with pytest.raises(OcrvlError, match="no LoRA adapter"):
        export(tuned, base, "lora")


def test_only_the_bases_own_files_are_copied(base: Path, tuned: Path) -> None:
    (base / "inference.yml").write_text("x")
    (base / "modeling_paddleocr_vl.py").write_text("x")
    (base / "PP-DocLayoutV2").mkdir()
    (base / ".cache").mkdir()
    (base / ".gitattributes").write_text("x")
    (base / "flex.metadata").write_text("x")
    out = export(tuned, base)
    assert {"inference.yml", "modeling_paddleocr_vl.py"} <= names_in(out)
    assert not {"PP-DocLayoutV2", ".cache", ".gitattributes", "flex.metadata"} & names_in(out)


def test_the_pixel_limits_of_training_go_into_the_export(base: Path, tuned: Path) -> None:
    assert pixel_limits(export(tuned, base)) == TINY.pixels
    assert pixel_limits(export(tuned, base, pixels=PixelLimits(784, 7840))) == PixelLimits(784, 7840)


def test_a_missing_base_is_an_error(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(OcrvlError, match="no base model"):
        export(tuned, tmp_path / "gone")
