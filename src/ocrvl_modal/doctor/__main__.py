"""One check in a process of its own: ``python -m ocrvl_modal.doctor MODULE:FUNCTION SUBJECT RESULT``."""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.doctor.findings import Finding, failed
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.errors import OcrvlError, first_line

_MOST_LIKELY_TO_BE_KILLED = "1000"


def main(run: str, subject: Path, result: Path) -> None:
    """Run one check, write its finding to ``result``, and end at once: a library may hang or crash at its exit."""
    faulthandler.enable(all_threads=False)
    _end_with_the_caller()
    _be_the_first_to_go()
    finding = _find_out(run, Subject.model_validate_json(subject.read_text(encoding="utf-8")))
    files.write_text(result, finding.model_dump_json())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _find_out(run: str, subject: Subject) -> Finding:
    """Return what the check says; whatever it raises is a failure, whose traceback is among its last lines."""
    module, _, function = run.partition(":")
    try:
        finding: Finding = getattr(importlib.import_module(module), function)(subject)
    except OcrvlError as error:
        return failed(error.message, error.hint)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what a library does at its import is its own affair
        traceback.print_exc()
        return failed(f"{type(error).__name__}: {first_line(error)}", "")
    return finding


def _end_with_the_caller() -> None:
    """End, with all that the check started, when standard input closes: nobody would read the result."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _be_the_first_to_go() -> None:
    """Ask the system, should it run out of memory, to end this process and not its caller."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_MOST_LIKELY_TO_BE_KILLED, encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
