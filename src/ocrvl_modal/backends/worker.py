"""The process in which the local backend runs a job: ``python -m ocrvl_modal.backends.worker JOB REQUEST``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.errors import OcrvlError, RunCancelled

JOBS = ("download", "evaluate", "export", "infer", "train")


def main() -> int:
    """Run one job; its result or its error goes into ``--result`` where that is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("request", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    _listen_for_signals()
    if options.result:
        _end_with_the_caller()
    request = json.loads(options.request.read_text(encoding="utf-8"))
    answer = _run(options.job, request)
    if options.result:
        files.write_json(options.result, answer)
    return 0 if "result" in answer else 1


def _run(job: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        result = importlib.import_module(f"ocrvl_modal.jobs.{job}").run(request)
    except OcrvlError as error:
        return {"error": error.to_dict()}
    except (KeyboardInterrupt, RunCancelled):
        return {"interrupted": True}
    return {"result": result}


def _listen_for_signals() -> None:
    # A shell without job control starts its background jobs with SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _cancel)


def _cancel(_number: int, _frame: object) -> None:
    raise RunCancelled


def _end_with_the_caller() -> None:
    """End when standard input closes: the caller is gone, and nobody would read the result."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
