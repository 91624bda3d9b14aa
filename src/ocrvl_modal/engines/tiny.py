"""The tiny model: PaddleOCR-VL's architecture at toy size, random at first, that really learns in a minute on a CPU.

It is written without torch: the weights come from a seeded generator, so that a seed always gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.models import FAMILY, FAMILY_FILE

HIDDEN = 64
INTERMEDIATE = 192
LAYERS = 2
TEXT_HEADS = 4
KEY_VALUE_HEADS = 1
HEAD_SIZE = 32
VISION_HEADS = 2
PATCH = 14
POSITIONS = (224 // PATCH) ** 2
MERGED = 4 * HIDDEN
PACKED_POSITIONS = 32768
EMBEDDINGS = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

_SPECIALS = (
    "<unk>",
    "<|begin_of_sentence|>",
    "</s>",
    "<pad>",
    "<|end_of_sentence|>",
    "<|IMAGE_PLACEHOLDER|>",
    "<|IMAGE_START|>",
    "<|IMAGE_END|>",
    "<|video_pad|>",
)
_CHARACTERS = ("\n", *(chr(code) for code in range(32, 127)))
_PROMPT_PIECES = ("User: ", "OCR:", "Assistant: ")
"""One token each: a model this small spends its two layers on the image, not on spelling its prompt."""

VOCABULARY = {token: number for number, token in enumerate((*_SPECIALS, *_CHARACTERS, *_PROMPT_PIECES))}

_CHAT_TEMPLATE = """\
{%- if add_generation_prompt is not defined %}{% set add_generation_prompt = true %}{% endif -%}
{{- "<|begin_of_sentence|>" -}}
{%- for message in messages -%}
  {{- "User: " if message["role"] == "user" else "Assistant: " -}}
  {%- for part in message["content"] if part["type"] == "image" -%}
    {{- "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>" -}}
  {%- endfor -%}
  {%- for part in message["content"] if part["type"] == "text" -%}
    {{- part["text"] -}}
  {%- endfor -%}
  {{- "\\n" if message["role"] == "user" else "</s>" -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "Assistant: " }}{% endif -%}
"""


def make_tiny_model(folder: Path, seed: int = 0) -> None:
    """Write the tiny model to ``folder`` as the hub lays a model out; ``seed`` decides its weights, byte for byte.

    A folder that stands there already is replaced, in one step.
    """
    with files.new_folder(folder) as new:
        _write_weights(new / "model.safetensors", seed)
        _write_tokenizer(new)
        files.write_text(new / "chat_template.jinja", _CHAT_TEMPLATE)
        files.write_json(new / "config.json", _config())
        files.write_json(new / "preprocessor_config.json", _image_processor())
        files.write_json(new / "processor_config.json", {"processor_class": "PaddleOCRVLProcessor"})
        files.write_json(new / "generation_config.json", {**_text_ids(), "do_sample": False, "use_cache": True})
        files.write_json(new / FAMILY_FILE, {"family": "tiny"})


def _text_ids() -> dict[str, int]:
    return {
        "bos_token_id": VOCABULARY["<|begin_of_sentence|>"],
        "eos_token_id": VOCABULARY["</s>"],
        "pad_token_id": VOCABULARY["<pad>"],
    }


def _config() -> dict[str, Any]:
    half = HEAD_SIZE // 2
    return {
        "architectures": ["PaddleOCRVLForConditionalGeneration"],
        "model_type": "paddleocr_vl",
        "vocab_size": len(VOCABULARY),
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": TEXT_HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        # The real 500000 turns the width axis of so small a head by next to nothing.
        "rope_theta": 100.0,
        "rope_scaling": {
            "mrope_section": [half // 8, half // 8, half - 2 * (half // 8)],
            "rope_type": "default",
            "type": "default",
        },
        "use_bias": False,
        "use_cache": True,
        "fuse_rms_norm": False,
        # The head is the table of tokens, which transformers knows without being told. PaddleFormers 1.2.0 must be
        # told otherwise, and find the head in the file: told that they are tied, it leaves the head as memory was.
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        **_text_ids(),
        "image_token_id": VOCABULARY["<|IMAGE_PLACEHOLDER|>"],
        "video_token_id": VOCABULARY["<|video_pad|>"],
        "vision_start_token_id": VOCABULARY["<|IMAGE_START|>"],
        "vision_end_token_id": VOCABULARY["<|IMAGE_END|>"],
        "vision_config": {
            "model_type": "paddleocr_vl",
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": VISION_HEADS,
            "num_channels": 3,
            "image_size": PATCH * math.isqrt(POSITIONS),
            "patch_size": PATCH,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "attention_dropout": 0.0,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "tokens_per_second": 2,
            "torch_dtype": "float32",
        },
    }


def _image_processor() -> dict[str, Any]:
    pixels = FAMILY["tiny"].pixels
    return {
        "image_processor_type": "PaddleOCRVLImageProcessor",
        "processor_class": "PaddleOCRVLProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
        # White becomes zero, so that the first layer sees ink and not paper.
        "image_mean": [1.0, 1.0, 1.0],
        "image_std": [0.5, 0.5, 0.5],
        "min_pixels": pixels.minimum,
        "max_pixels": pixels.maximum,
        "patch_size": PATCH,
        "temporal_patch_size": 1,
        "merge_size": 2,
    }


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models

    learned = {token: VOCABULARY[token] for token in (*_SPECIALS, *_CHARACTERS)}
    tokenizer = Tokenizer(models.BPE(vocab=learned, merges=[], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(_SPECIALS))
    tokenizer.add_tokens(list(_PROMPT_PIECES))
    tokenizer.save(str(folder / "tokenizer.json"))
    files.write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_sentence|>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "cls_token": "<|begin_of_sentence|>",
            "sep_token": "<|end_of_sentence|>",
            "extra_special_tokens": {
                "image_token": "<|IMAGE_PLACEHOLDER|>",
                "video_token": "<|video_pad|>",
                "image_start_token": "<|IMAGE_START|>",
                "image_end_token": "<|IMAGE_END|>",
            },
            "clean_up_tokenization_spaces": False,
            "model_max_length": 4096,
            "padding_side": "left",
        },
    )


def _write_weights(path: Path, seed: int) -> None:
    import numpy
    from safetensors.numpy import save_file

    generator = numpy.random.Generator(numpy.random.PCG64(seed))
    weights = {}
    for name, shape in sorted(_shapes()):
        if name.endswith("bias"):
            weights[name] = numpy.zeros(shape, numpy.float32)
        elif len(shape) == 1:
            weights[name] = numpy.ones(shape, numpy.float32)
        else:
            spread = _spread(name, shape)
            weights[name] = (generator.standard_normal(shape) * spread).astype(numpy.float32)
    weights[HEAD] = weights[EMBEDDINGS].copy()
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)


def _spread(name: str, shape: tuple[int, ...]) -> float:
    """Return the standard deviation of a fresh weight.

    By fan-in: the 0.02 that suits a width of 1024 lets the image's signal die at a width of 64. The table of tokens
    too, because it is also the head: with 0.02 one seed in three was still guessing after 700 steps.
    """
    return 0.02 if "position_embedding" in name else float(math.prod(shape[1:])) ** -0.5


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each tensor, by the names that the hub's files use."""
    yield EMBEDDINGS, (len(VOCABULARY), HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    for layer in range(LAYERS):
        yield from _text_layer(f"model.layers.{layer}.")
    vision = "visual.vision_model."
    yield from _linear(f"{vision}embeddings.patch_embedding", (HIDDEN, 3, PATCH, PATCH))
    yield f"{vision}embeddings.position_embedding.weight", (POSITIONS, HIDDEN)
    # Nothing reads this table, but the real checkpoints have it and PaddleFormers refuses a model without it.
    yield f"{vision}embeddings.packing_position_embedding.weight", (PACKED_POSITIONS, HIDDEN)
    for layer in range(LAYERS):
        yield from _vision_layer(f"{vision}encoder.layers.{layer}.")
    yield from _linear(f"{vision}post_layernorm", (HIDDEN,))
    yield from _linear("mlp_AR.pre_norm", (HIDDEN,))
    yield from _linear("mlp_AR.linear_1", (MERGED, MERGED))
    yield from _linear("mlp_AR.linear_2", (HIDDEN, MERGED))


def _text_layer(prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    queries, keys = TEXT_HEADS * HEAD_SIZE, KEY_VALUE_HEADS * HEAD_SIZE
    yield f"{prefix}input_layernorm.weight", (HIDDEN,)
    yield f"{prefix}post_attention_layernorm.weight", (HIDDEN,)
    yield f"{prefix}self_attn.q_proj.weight", (queries, HIDDEN)
    yield f"{prefix}self_attn.k_proj.weight", (keys, HIDDEN)
    yield f"{prefix}self_attn.v_proj.weight", (keys, HIDDEN)
    yield f"{prefix}self_attn.o_proj.weight", (HIDDEN, queries)
    yield f"{prefix}mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
    yield f"{prefix}mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
    yield f"{prefix}mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)


def _vision_layer(prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _linear(f"{prefix}layer_norm1", (HIDDEN,))
    yield from _linear(f"{prefix}layer_norm2", (HIDDEN,))
    for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from _linear(f"{prefix}self_attn.{projection}", (HIDDEN, HIDDEN))
    yield from _linear(f"{prefix}mlp.fc1", (INTERMEDIATE, HIDDEN))
    yield from _linear(f"{prefix}mlp.fc2", (HIDDEN, INTERMEDIATE))


def _linear(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
