"""Loaded by PaddleFormers into each of its processes (``custom_register_path``): all that we change in there."""

from __future__ import annotations

import os

from ocrvl_modal.engines.paddleformers.following import follow_training
from ocrvl_modal.engines.paddleformers.mending import mend_faults
from ocrvl_modal.engines.paddleformers.templates import register_templates
from ocrvl_modal.engines.trainer.stopping import StopRequest, exit_with_supervisor

_NAME_GIVEN_BY_PADDLEFORMERS = "custom_template"


def install() -> None:
    """Do all of it; called once, before PaddleFormers reads its configuration."""
    stop = StopRequest()
    stop.install()
    _spare_data_workers()
    exit_with_supervisor()
    register_templates()
    mend_faults()
    follow_training(stop)


def _spare_data_workers() -> None:
    """Take data workers out of the process group, which is asked to stop as a whole: the step needs their samples.

    Paddle's own workers outlive a parent that was killed; these do not.
    """

    def leave_the_group() -> None:
        os.setpgrp()
        exit_with_supervisor()

    os.register_at_fork(after_in_child=leave_the_group)


if __name__ == _NAME_GIVEN_BY_PADDLEFORMERS:
    install()
