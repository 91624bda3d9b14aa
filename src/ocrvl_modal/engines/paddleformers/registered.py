"""Loaded by PaddleFormers into each of its processes (``custom_register_path``), and the only code of ours in there.

It registers the family's prompts without augmentation, sees that a bad sample ends training instead of being skipped,
saves and stops when it is asked to, says when a checkpoint is finished, and mends what PaddleFormers 1.2.0 does wrong.
Each mending names the fault; where a later version has lost it, the mending changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE
from ocrvl_modal.engines.images import load_image
from ocrvl_modal.engines.paddleformers.names import (
    BATCH_SAMPLES_VARIABLE,
    LORA_TARGETS_VARIABLE,
    USED_BATCHES_VARIABLE,
    template_name,
)
from ocrvl_modal.engines.trainer.lines import format_error, format_saved
from ocrvl_modal.engines.trainer.stopping import StopRequest, exit_with_supervisor
from ocrvl_modal.errors import OcrvlError

_TAILS = ("Assistant: ", "Assistant:\n")
_LANGUAGE_LAYERS = r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
_NAME_GIVEN_BY_PADDLEFORMERS = "custom_template"


def install() -> None:
    """Do all of it; called once, before PaddleFormers reads its configuration."""
    stop = StopRequest()
    stop.install()
    _spare_data_workers()
    exit_with_supervisor()
    register_templates()
    _yield_each_sample_once()
    _pass_over_used_samples()
    _count_samples_of_all_processes()
    _leave_shared_memory_of_others()
    _freeze_what_nothing_reads()
    if os.environ.get(LORA_TARGETS_VARIABLE) == "language":
        _adapt_language_layers_only()
    _follow_training(stop)


def register_templates() -> None:
    """Register a template for each prompt tail, with images as they are and with PaddleFormers' augmentation."""
    from paddleformers.datasets.template.formatter import EmptyFormatter, StringFormatter
    from paddleformers.datasets.template.template import register_template

    for augmentation in (False, True):
        for tail in _TAILS:
            register_template(
                name=template_name(tail, augmentation=augmentation),
                format_user=StringFormatter(slots=[f"User: {{{{content}}}}\n{tail}"]),
                format_assistant=StringFormatter(slots=["{{content}}"]),
                format_system=StringFormatter(slots=["{{content}}\n"]),
                format_prefix=EmptyFormatter(slots=["<|begin_of_sentence|>"]),
                chat_sep="<|end_of_sentence|>",
                suffix=["</s>"],
                mm_plugin=_image_plugin(augmentation=augmentation),
            )


def _image_plugin(*, augmentation: bool) -> Any:
    """Return what turns an image's file into the model's input.

    PaddleFormers' own plugin augments always, in evaluation too, and takes transparent and 16-bit images as they come.
    """
    from paddleformers.datasets.template.mm_plugin import PaddleOCRVLPlugin

    class ImagePlugin(PaddleOCRVLPlugin):  # type: ignore[misc]
        def _img_download(self, url: str) -> Any:
            try:
                return load_image(Path(url))
            except OcrvlError as error:
                _give_up(error)

        def _preprocess_image(self, image: Any, **limits: Any) -> Any:
            # The image processor resizes; resizing here as well would do no more than that.
            return super()._preprocess_image(image, **limits) if augmentation else image

    return ImagePlugin(image_token="<|IMAGE_PLACEHOLDER|>", video_token=None, audio_token=None)


def _give_up(error: OcrvlError) -> None:
    """End this process, which may be a data worker, with an error for the user: an exception would skip the sample."""
    print(format_error(error), flush=True)
    os._exit(1)


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


def _spare_data_workers() -> None:
    """Take data workers out of the process group, which is asked to stop as a whole: the step needs their samples.

    Paddle's own workers outlive a parent that was killed; these do not.
    """

    def leave_the_group() -> None:
        os.setpgrp()
        exit_with_supervisor()

    os.register_at_fork(after_in_child=leave_the_group)


def _follow_training(stop: StopRequest) -> None:
    """Put a callback of ours behind PaddleFormers' own, whose decisions it may change."""
    from paddleformers.trainer import trainer

    trainer.DEFAULT_CALLBACKS.append(_callback_class(stop))
    _evaluate_until_stopped(stop)


def _callback_class(stop: StopRequest) -> Any:
    from paddleformers.trainer.trainer_callback import TrainerCallback

    class Follower(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_anything: Any, **_more: Any) -> None:
            stop.training = True

        def on_step_end(self, args: Any, state: Any, control: Any, **_more: Any) -> Any:
            if state.global_step >= state.max_steps:
                control.should_log = control.should_save = True
                control.should_evaluate = bool(args.do_eval)
            elif _any_process_was_asked(stop):
                control.should_log = control.should_save = control.should_training_stop = True
                control.should_evaluate = False
            return control

        def on_save(self, _args: Any, state: Any, _control: Any, **_more: Any) -> None:
            _wait_for_all_processes()
            if state.is_world_process_zero:
                print(format_saved(state.global_step), flush=True)

        def on_train_end(self, args: Any, state: Any, _control: Any, **_more: Any) -> None:
            if state.global_step < state.max_steps:
                raise SystemExit(STOPPED_EXIT_CODE)
            # Or the model is written once more, among the checkpoints: the last of them holds it already.
            args.autotuner_benchmark = True

    return Follower


class _Stopped(Exception):
    """Ends an evaluation."""


def _evaluate_until_stopped(stop: StopRequest) -> None:
    """Let a request to stop end an evaluation, which may take longer than a container has left, and save.

    A process that is alone may decide that; several would have to agree, and need not have as many batches.
    """
    from paddle import distributed
    from paddleformers.trainer.trainer import Trainer

    evaluate, prediction_step = Trainer.evaluate, Trainer.prediction_step

    def interruptible_step(trainer: Any, *arguments: Any, **named: Any) -> Any:
        if stop.requested and distributed.get_world_size() == 1:
            raise _Stopped
        return prediction_step(trainer, *arguments, **named)

    def interruptible(trainer: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return evaluate(trainer, *arguments, **named)
        except _Stopped:
            trainer.control.should_evaluate = False
            trainer.control.should_save = trainer.control.should_training_stop = True
            return None

    Trainer.evaluate, Trainer.prediction_step = interruptible, interruptible_step


def _any_process_was_asked(stop: StopRequest) -> bool:
    """Say whether one of the processes was asked to stop; all of them get the same answer."""
    import paddle
    from paddle import distributed

    if distributed.get_world_size() == 1:
        return stop.requested
    asked = paddle.to_tensor([int(stop.requested)], dtype="int32")
    distributed.all_reduce(asked, op=distributed.ReduceOp.MAX)
    return bool(asked.item())


def _wait_for_all_processes() -> None:
    from paddle import distributed

    if distributed.get_world_size() > 1:
        distributed.barrier()


if __name__ == _NAME_GIVEN_BY_PADDLEFORMERS:
    install()
