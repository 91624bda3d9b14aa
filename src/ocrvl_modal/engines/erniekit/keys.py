"""The keys of ERNIEKit's configuration: which a recipe decides, which we decide, and which are left to its file.

ERNIEKit ignores a key that it does not know without a word, so we have to know them.
"""

from __future__ import annotations

from typing import Any

from ocrvl_modal.errors import nearest, usage_error
from ocrvl_modal.recipes import TrainRecipe

OFFICIAL_CONFIG = "examples/configs/PaddleOCR-VL/sft/run_ocr_vl_sft_16k.yaml"
"""The documented configuration, as it is called in ERNIE's source tree."""

RECIPE_KEYS = {
    "max_seq_len": "data.max_seq_len",
    "seed": "seed",
    "gradient_accumulation_steps": "batch.gradient_accumulation",
    "dataloader_num_workers": "batch.num_workers",
    "max_steps": "schedule.max_steps",
    "num_train_epochs": "schedule.num_epochs",
    "warmup_steps": "schedule.warmup_steps",
    "warmup_ratio": "schedule.warmup_ratio",
    "lr_scheduler": "schedule.kind",
    "lr_scheduler_type": "schedule.kind",
    "save_steps": "checkpoint.save_steps",
    "save_total_limit": "checkpoint.save_total_limit",
    "logging_steps": "tracking.log_steps",
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "adam_beta1": "optimizer.beta1",
    "adam_beta2": "optimizer.beta2",
    "adam_epsilon": "optimizer.epsilon",
    "max_grad_norm": "optimizer.max_grad_norm",
    "packing_size": "batch.per_device",
    "min_lr": "schedule.min_learning_rate_ratio",
    "min_pixels": "pixels.minimum",
    "max_pixels": "pixels.maximum",
}
"""What a recipe decides, by ERNIEKit's key."""

OURS = (
    "model_name_or_path",
    "train_dataset_type",
    "train_dataset_path",
    "train_dataset_prob",
    "eval_dataset_type",
    "eval_dataset_path",
    "eval_dataset_prob",
    "output_dir",
    "logging_dir",
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "save_strategy",
    "logging_strategy",
    "unified_checkpoint",
    "convert_from_hf",
    "save_to_hf",
    "do_train",
    "do_eval",
    "eval_steps",
    "eval_iters",
    "eval_batch_size",
    "evaluation_strategy",
    "per_device_train_batch_size",
)
"""What follows from where a run keeps its files, and how it resumes."""

FREE = (
    "num_samples_each_epoch",
    "use_pic_id",
    "sft_replace_ids",
    "sft_image_normalize",
    "sft_image_rescale",
    "image_dtype",
    "fine_tuning",
    "multimodal",
    "use_flash_attention",
    "use_sparse_flash_attn",
    "use_sparse_head_and_loss_fn",
    "fuse_rope",
    "stage",
    "distributed_dataloader",
    "prefetch_factor",
    "batch_size",
    "packing",
    "padding",
    "release_grads",
    "disable_tqdm",
    "layerwise_lr_decay_bound",
    "from_scratch",
    "tensor_parallel_degree",
    "pipeline_parallel_degree",
    "sharding_parallel_degree",
    "sharding",
    "sequence_parallel",
    "pipeline_parallel_config",
    "sharding_parallel_config",
    "recompute",
    "recompute_granularity",
    "recompute_use_reentrant",
    "compute_type",
    "fp16_opt_level",
    "amp_master_grad",
    "amp_custom_white_list",
    "amp_custom_black_list",
    "disable_ckpt_quant",
    "unified_checkpoint_config",
    "freeze_config",
    "use_huggingface_model",
)
"""What is left to the file."""

_NEEDED = {"stage": "OCR-VL-SFT", "fine_tuning": "full"}
_REFUSED_COMPUTE = {
    "fp16": "ERNIEKit is known to train it at a learning rate of 0",
    "float32": "ERNIEKit has no such compute type",
}


def overrides(recipe: TrainRecipe, max_steps: int, warmup_steps: int) -> dict[str, Any]:
    """Return, by ERNIEKit's keys, what a recipe and its plan decide."""
    optimizer, schedule, own = recipe.optimizer, recipe.schedule, recipe.engine_config or {}
    decided: dict[str, Any] = {
        "max_steps": max_steps,
        "warmup_steps": warmup_steps,
        # ERNIEKit computes a warm-up from the ratio where the steps are 0.
        "warmup_ratio": 0.0,
        "learning_rate": optimizer.learning_rate,
        "min_lr": float(f"{optimizer.learning_rate * schedule.min_learning_rate_ratio:.12g}"),
        # The documented key has no effect: this stage reads the other one.
        "lr_scheduler_type": schedule.kind,
        "lr_scheduler": schedule.kind,
        "weight_decay": optimizer.weight_decay,
        "adam_beta1": optimizer.beta1,
        "adam_beta2": optimizer.beta2,
        "adam_epsilon": optimizer.epsilon,
        "max_grad_norm": optimizer.max_grad_norm,
        "seed": recipe.seed,
        "max_seq_len": recipe.data.max_seq_len,
        **_batch(recipe),
        "gradient_accumulation_steps": recipe.batch.gradient_accumulation,
        "dataloader_num_workers": max(1, recipe.batch.num_workers),
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint.save_steps,
        # The supervisor removes the oldest, and only when a newer one is known to be complete.
        "save_total_limit": 0,
        "logging_strategy": "steps",
        "logging_steps": recipe.tracking.log_steps,
        "overwrite_output_dir": False,
        "unified_checkpoint": True,
        "convert_from_hf": True,
        "save_to_hf": True,
        "do_train": True,
        "do_eval": False,
    }
    if "compute_type" not in own:
        decided["compute_type"] = "bf16"
    if recipe.gradient_checkpointing:
        decided["recompute"] = True
    return decided


def check_config(recipe: TrainRecipe) -> tuple[str, ...]:
    """Return warnings about ``engine_config``; raise a usage error for what would not train, or not be obeyed."""
    own = recipe.engine_config or {}
    for key, value in own.items():
        _refuse_what_others_decide(key)
        _refuse_what_cannot_train(key, value)
    sequences = packed_sequences(recipe)
    if sequences and recipe.batch.per_device % sequences:
        raise usage_error(
            f"batch.per_device {recipe.batch.per_device} cannot be dealt out to {sequences} sequences"
            " (engine_config.batch_size)",
            f"--set batch.per_device={sequences * max(1, recipe.batch.per_device // sequences)}",
        )
    return tuple(_about_unknown(key) for key in own if key not in FREE)


def packed_sequences(recipe: TrainRecipe) -> int | None:
    """Return how many sequences a forward pass packs its samples into; ``None`` where ERNIEKit packs nothing.

    A sequence holds ``data.max_seq_len`` tokens at most, and may be closed before its share of samples is in.
    """
    own = recipe.engine_config or {}
    return max(1, int(own.get("batch_size", 1))) if own.get("packing", True) else None


def _batch(recipe: TrainRecipe) -> dict[str, Any]:
    """Deal ``batch.per_device`` samples out: they are packed into one sequence, unless the file says otherwise."""
    samples, sequences = recipe.batch.per_device, packed_sequences(recipe)
    if sequences is None:
        return {"packing": False, "batch_size": samples}
    return {"packing": True, "batch_size": sequences, "packing_size": max(1, samples // sequences)}


def _refuse_what_others_decide(key: str) -> None:
    if key in RECIPE_KEYS:
        raise usage_error(f"engine_config.{key} would not be obeyed", f"set {RECIPE_KEYS[key]}")
    if key in OURS:
        raise usage_error(f"engine_config.{key} would not be obeyed: every run decides it anew", "leave it out")


def _refuse_what_cannot_train(key: str, value: Any) -> None:
    if key == "fine_tuning" and str(value).lower() == "lora":
        raise usage_error("ERNIEKit trains no adapter of PaddleOCR-VL", "--engine paddleformers --method lora")
    if key in _NEEDED and str(value).lower() != _NEEDED[key].lower():
        raise usage_error(f"engine_config.{key} must be {_NEEDED[key]}, not {value}", "leave it out")
    if key == "compute_type" and value in _REFUSED_COMPUTE:
        raise usage_error(f"compute type {value}: {_REFUSED_COMPUTE[value]}", "leave it out: bf16 is the official one")
    if key == "pipeline_parallel_degree" and value not in (0, 1, None):
        raise usage_error("ERNIEKit has no pipeline parallelism for PaddleOCR-VL", "pipeline_parallel_degree: 1")
    if key == "unified_checkpoint_config" and "async_save" in str(value):
        raise usage_error(
            "with async_save nobody can tell when a checkpoint is complete", "leave async_save out of engine_config"
        )


def _about_unknown(key: str) -> str:
    near = nearest(key, (*FREE, *RECIPE_KEYS))
    meant = f"; did you mean '{near}'?" if near else ""
    return f"ERNIEKit ignores keys that it does not know, and '{key}' is not in its documentation{meant}"
