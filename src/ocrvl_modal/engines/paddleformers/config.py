"""From a recipe to the keys of PaddleFormers: every value resolved, so that no default of its own decides anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.engines.paddleformers import names
from ocrvl_modal.errors import usage_error


@dataclass(frozen=True)
class Machine:
    """What decides precision and attention: how many GPUs are to be seen."""

    num_gpus: int


def engine_config(job: EngineJob, machine: Machine) -> dict[str, Any]:
    """Return the content of ``engine.yaml``; raise a usage error for what this machine cannot compute.

    PaddleFormers stops at a key that it does not know, so every key here is one of version 1.2.0.
    """
    return {
        **_task(job),
        **_data(job),
        **_arithmetic(job, machine),
        **_parallelism(),
        **_optimization(job),
        **_course(job),
        **_output(job),
    }


def _task(job: EngineJob) -> dict[str, Any]:
    recipe = job.recipe
    task = {
        "stage": "VL-SFT",
        "fine_tuning": "LoRA" if recipe.method == "lora" else "Full",
        "model_name_or_path": str(names.model(job).absolute()),
        "template": names.template_name(job.member.assistant_tail, augmentation=recipe.data.augmentation),
        "template_backend": "custom",
        "custom_register_path": str(names.registered_file()),
        "do_train": True,
        "seed": recipe.seed,
        "resume_from_checkpoint": str(job.resume_from.absolute()) if job.resume_from else None,
    }
    return {**task, "lora_rank": recipe.lora.rank} if recipe.method == "lora" else task


def _data(job: EngineJob) -> dict[str, Any]:
    """Return where the rows are: by relative paths, since spaces, commas and ``#`` in a path mean something else."""
    data = {
        "train_dataset_type": "messages",
        "train_dataset_path": names.train(job).name,
        "train_dataset_prob": "1.0",
        "max_seq_len": job.recipe.data.max_seq_len,
        "truncation_strategy": "delete",
        "packing": False,
        "padding_free": False,
        "mix_strategy": "concat",
        "dataloader_num_workers": job.recipe.batch.num_workers,
        "do_eval": _evaluates(job),
        # The word unquoted would be read as false; the YAML writer quotes it.
        "evaluation_strategy": "steps" if _evaluates(job) else "no",
    }
    if not _evaluates(job):
        return data
    return {
        **data,
        "eval_dataset_type": "messages",
        "eval_dataset_path": names.validation(job).name,
        "eval_dataset_prob": "1.0",
        "eval_steps": job.recipe.evaluation.eval_steps,
        "prediction_loss_only": True,
    }


def _evaluates(job: EngineJob) -> bool:
    """PaddleFormers 1.2.0 fails at the first evaluation of an adapter (``NameError: GPTModel``)."""
    return job.validation is not None and job.recipe.method == "full"


def _arithmetic(job: EngineJob, machine: Machine) -> dict[str, Any]:
    """Return the official bf16 on a GPU; float32 where there is none or the recipe asks for it."""
    recompute = "full" if job.recipe.gradient_checkpointing else None
    common = {
        "device": "gpu" if machine.num_gpus else "cpu",
        "recompute_granularity": recompute,
        "recompute_method": "uniform" if recompute else None,
        "recompute_num_layers": 1 if recompute else None,
    }
    if not machine.num_gpus and job.recipe.precision == "bf16":
        raise usage_error("PaddleFormers computes bf16 on GPUs only, and there is none", "--set precision=float32")
    if not machine.num_gpus or job.recipe.precision == "float32":
        # Flash attention knows no float32; and O2 would keep weights in 16 bits.
        return {
            **common,
            "compute_type": "float32",
            "fp16_opt_level": "O1",
            "amp_master_grad": False,
            "_attn_implementation": "sdpa",
        }
    return {
        **common,
        "compute_type": "bf16",
        "fp16_opt_level": "O2",
        "amp_master_grad": True,
        "_attn_implementation": "flashmask",
    }


def _parallelism() -> dict[str, Any]:
    """Return plain data parallelism: each device has the whole model and optimizer, about 17 GB for a real one in bf16.

    The official recipes shard the optimizer's state. That saves memory which every GPU that can train these models
    has, and its checkpoints cannot be resumed on another number of devices.
    """
    return {"tensor_model_parallel_size": 1, "pipeline_model_parallel_size": 1, "sharding": ""}


def _optimization(job: EngineJob) -> dict[str, Any]:
    recipe = job.recipe
    optimizer, batch = recipe.optimizer, recipe.batch
    return {
        "optim": "adamw",
        "learning_rate": optimizer.learning_rate,
        "weight_decay": optimizer.weight_decay,
        "adam_beta1": optimizer.beta1,
        "adam_beta2": optimizer.beta2,
        "adam_epsilon": optimizer.epsilon,
        "max_grad_norm": optimizer.max_grad_norm,
        "per_device_train_batch_size": batch.per_device,
        "per_device_eval_batch_size": batch.per_device_evaluation or batch.per_device,
        "gradient_accumulation_steps": batch.gradient_accumulation,
        **_schedule(job),
    }


def _schedule(job: EngineJob) -> dict[str, Any]:
    """Return the learning rate's course. The minimum has an effect in ``cosine`` only, so a line is a polynomial."""
    schedule, peak = job.recipe.schedule, job.recipe.optimizer.learning_rate
    lowest = peak * schedule.min_learning_rate_ratio
    steps = {"max_steps": job.max_steps, "warmup_steps": job.warmup_steps, "warmup_ratio": 0.0}
    falls = lowest < peak and job.warmup_steps < job.max_steps
    if schedule.kind == "constant" or not falls:
        return {**steps, "lr_scheduler_type": "constant_with_warmup"}
    if schedule.kind == "linear":
        return {**steps, "lr_scheduler_type": "polynomial", "power": 1.0, "lr_end": lowest}
    return {**steps, "lr_scheduler_type": "cosine", "min_lr": lowest}


def _course(job: EngineJob) -> dict[str, Any]:
    """Return what happens when. The registered file adds the last step to each of these."""
    return {
        "logging_strategy": "steps",
        "logging_steps": job.recipe.tracking.log_steps,
        "save_strategy": "steps",
        "save_steps": job.recipe.checkpoint.save_steps,
    }


def _output(job: EngineJob) -> dict[str, Any]:
    """Return where checkpoints go and in which form.

    ``unified_checkpoint`` is the one that a single process can resume from; how many are kept is the supervisor's
    affair.
    """
    return {
        "output_dir": str(job.checkpoints.absolute()),
        # Or it resumes from whatever it finds there, complete or not, where it is told to resume from nothing.
        "overwrite_output_dir": True,
        "logging_dir": str((job.scratch / "visualdl").absolute()),
        "save_checkpoint_format": "unified_checkpoint",
        "load_checkpoint_format": "unified_checkpoint",
        "report_to": "none",
        "disable_tqdm": True,
    }
