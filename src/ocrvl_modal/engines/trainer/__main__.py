"""``python -m ocrvl_modal.engines.trainer CONFIG``: train as the configuration says.

Ends with 0 when the last step is done, with :data:`~ocrvl_modal.engines.base.STOPPED_EXIT_CODE` when it was asked to
stop, and with 1 when it failed; the last line then says why, in the form of ``lines.format_error``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE
from ocrvl_modal.engines.trainer.config import read_config
from ocrvl_modal.engines.trainer.launch import launch
from ocrvl_modal.engines.trainer.lines import format_error
from ocrvl_modal.engines.trainer.stopping import StopRequest, exit_with_supervisor
from ocrvl_modal.errors import OcrvlError


def main(path: Path) -> int:
    """Train, or start one trainer for each device, and return the exit code."""
    stop = StopRequest()
    stop.install()
    exit_with_supervisor()
    try:
        config = read_config(path)
        if config.num_processes > 1 and "RANK" not in os.environ:
            return launch(path, config.num_processes)
        # Only here, because torch and transformers take seconds, in which a signal should find its handler.
        from ocrvl_modal.engines.trainer.loop import train

        return 0 if train(config, stop) else STOPPED_EXIT_CODE
    except OcrvlError as error:
        print(format_error(error), flush=True)
        return 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ocrvl_modal.engines.trainer CONFIG")
    sys.exit(main(Path(sys.argv[1])))
