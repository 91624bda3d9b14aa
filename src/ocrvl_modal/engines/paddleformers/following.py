"""Following PaddleFormers' training from inside: it saves and stops when asked, and says when a checkpoint is whole."""

from __future__ import annotations

from typing import Any

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE
from ocrvl_modal.engines.paddleformers.telling import tell
from ocrvl_modal.engines.trainer.lines import format_saved
from ocrvl_modal.engines.trainer.stopping import StopRequest


def follow_training(stop: StopRequest) -> None:
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
                tell(format_saved(state.global_step))

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
