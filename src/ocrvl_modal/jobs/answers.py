"""A job's result or its error as plain data, so that it can cross to another process or machine."""

from __future__ import annotations

import importlib
from typing import Any

from ocrvl_modal.errors import ExitCode, OcrvlError, RunCancelled, of_the_system

JOBS = (
    *("check", "doctor", "download", "download_dataset", "evaluate", "export", "fetch_wheel", "infer", "train"),
    *("localize_dataset", "verify_dataset", "verify_model"),
)


def answer_of(job: str, request: dict[str, Any]) -> dict[str, Any]:
    """Run a job; return ``{"result": …}``, ``{"error": …}``, or ``{"interrupted": True}``."""
    if job not in JOBS:
        raise ValueError(f"there is no job named '{job}'")
    try:
        result = importlib.import_module(f"ocrvl_modal.jobs.{job}").run(request)
    except OcrvlError as error:
        return {"error": error.to_dict()}
    except OSError as error:
        return {"error": of_the_system(error).to_dict()}
    except (KeyboardInterrupt, RunCancelled):
        return {"interrupted": True}
    return {"result": result}


def read_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the result that an answer holds; raise the error that it holds instead."""
    if "error" in answer:
        raise OcrvlError.from_dict(answer["error"])
    if answer.get("interrupted"):
        raise OcrvlError("interrupted", code=ExitCode.INTERRUPTED)
    result: dict[str, Any] = answer["result"]
    return result
