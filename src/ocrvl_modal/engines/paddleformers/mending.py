"""What PaddleFormers 1.2.0 does wrong, mended in its own processes, before it reads its configuration.

Each function names one fault. Where a later version has lost it, the mending changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ocrvl_modal.engines.paddleformers.names import (
    BATCH_SAMPLES_VARIABLE,
    LORA_TARGETS_VARIABLE,
    USED_BATCHES_VARIABLE,
)
from ocrvl_modal.engines.paddleformers.templates import image_for

_LANGUAGE_LAYERS = r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"


def mend_faults() -> None:
    """Mend them all."""
    _yield_each_sample_once()
    _augment_for_training_only()
    _pass_over_used_samples()
    _count_samples_of_all_processes()
    _leave_shared_memory_of_others()
    _freeze_what_nothing_reads()
    if os.environ.get(LORA_TARGETS_VARIABLE) == "language":
        _adapt_language_layers_only()


def _yield_each_sample_once() -> None:
    """Mend the end of an epoch, where 1.2.0 yields the last sample a second time, in evaluation too."""
    from paddleformers.datasets.SFTDataset import BaseSFTDataset

    generate = BaseSFTDataset._generate_sequences

    def without_repeat(dataset: Any) -> Iterator[Any]:
        previous = None
        for sequences in generate(dataset):
            if sequences is not previous:
                yield sequences
            previous = sequences

    BaseSFTDataset._generate_sequences = without_repeat


def _augment_for_training_only() -> None:
    """Tell our plugin for what an image is: 1.2.0 augments validation images too."""
    from paddleformers.datasets.SFTDataset import BaseSFTDataset

    prepare = BaseSFTDataset._process_sft_sequence

    def prepare_for_purpose(dataset: Any, example: Any, number: int) -> Any:
        with image_for(training=not dataset.is_valid):
            return prepare(dataset, example, number)

    BaseSFTDataset._process_sft_sequence = prepare_for_purpose


def _pass_over_used_samples() -> None:
    """Spare a resumed run the images that it has learned from.

    PaddleFormers prepares every batch up to the checkpoint, only to throw it away: hours, in the middle of a large
    dataset. Those batches are made of one sample here, over and over, and thrown away all the same.
    """
    from paddleformers.datasets.SFTDataset import BaseSFTDataset

    batches = int(os.environ.get(USED_BATCHES_VARIABLE, "0"))
    if not batches:
        return
    prepare = BaseSFTDataset._process_sft_sequence

    def prepare_unless_used(dataset: Any, example: Any, number: int) -> Any:
        if dataset.is_valid:
            return prepare(dataset, example, number)
        if not hasattr(dataset, "ocrvl_used"):
            dataset.ocrvl_used, dataset.ocrvl_stand_in = _used_samples_of_this_worker(batches), None
        if dataset.ocrvl_used == 0:
            return prepare(dataset, example, number)
        dataset.ocrvl_used -= 1
        dataset.ocrvl_stand_in = dataset.ocrvl_stand_in or prepare(dataset, example, number)
        return dataset.ocrvl_stand_in

    BaseSFTDataset._process_sft_sequence = prepare_unless_used


def _used_samples_of_this_worker(batches: int) -> int:
    """Return how many samples this data worker prepared for so many batches: workers take turns, a batch each."""
    from paddle.io import get_worker_info

    worker = get_worker_info()
    own = len(range(worker.id, batches, worker.num_workers)) if worker else batches
    return own * int(os.environ[BATCH_SAMPLES_VARIABLE])


def _count_samples_of_all_processes() -> None:
    """Mend the length of one process's share, by which an evaluation of several forgets the others' losses."""
    from paddleformers.trainer.trainer_utils import IterableDatasetShard

    IterableDatasetShard.__len__ = lambda shard: len(shard.dataset)


def _leave_shared_memory_of_others() -> None:
    """Keep 1.2.0 from removing every file of Paddle's in /dev/shm: another run's data workers may be using theirs."""
    from paddleformers.cli.hparams import parser

    parser.remove_paddle_shm_files = lambda: None


def _freeze_what_nothing_reads() -> None:
    """Freeze a table that gets no gradient: several processes look for its optimizer state when they resume."""
    from paddleformers.cli.train.sft import workflow

    create = workflow.create_peft_model

    def create_frozen(model_args: Any, training_args: Any, dtype: Any, model: Any) -> Any:
        for name, parameter in model.named_parameters():
            if "packing_position_embedding" in name:
                parameter.stop_gradient = True
        return create(model_args, training_args, dtype, model)

    workflow.create_peft_model = create_frozen


def _adapt_language_layers_only() -> None:
    """Name the language model's layers: 1.2.0's own pattern for them matches layers of the ``vision_model`` too."""
    from paddleformers.cli.train.sft import workflow

    workflow.get_lora_target_modules = lambda model: [_LANGUAGE_LAYERS]  # noqa: ARG005 - any model of the family
