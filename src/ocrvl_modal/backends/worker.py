"""The process in which the local backend runs a job: ``python -m ocrvl_modal.backends.worker JOB REQUEST``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.errors import RunCancelled
from ocrvl_modal.jobs.answers import JOBS, answer_of


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
    answer = answer_of(options.job, request)
    if options.result:
        files.write_json(options.result, answer)
    elif "error" in answer:
        print(answer["error"]["message"], answer["error"]["hint"], sep="\n", file=sys.stderr)
    return 0 if "result" in answer else 1


def _listen_for_signals() -> None:
    # A shell without job control starts its background jobs with SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, _raise_once)
    signal.signal(signal.SIGTERM, _raise_once)


def _raise_once(number: int, _frame: object) -> None:
    """Raise in the job what the signal means; a second one must not break into what the job does about the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else RunCancelled


def _end_with_the_caller() -> None:
    """End when standard input closes: the caller is gone, and nobody would read the result."""

    def watch() -> None:
        # Not sys.stdin: a thread that waits in its buffer lets the interpreter abort when the job ends first.
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
