"""What ERNIEKit prints: steps, saved checkpoints, and the failures that are known."""

from __future__ import annotations

import re

from ocrvl_modal.engines.base import StepLogged
from ocrvl_modal.errors import OcrvlError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^\s*\[[^\]]*\] \[ *INFO\] - ")
_PAIR = re.compile(r"(\w+): (\S+)")

# Counted from the longest allowed sequence, not from what was read, or an identity of a sample, or the clock.
_NOT_MEASURED = re.compile(r"tokens_|TFLOPS|timestamp|(data|src)_id|data_type|cur_dp")


def parse_step(line: str) -> StepLogged | None:
    """Return the step that a line logs, or ``None``."""
    values = _values(line)
    try:
        step, loss, rate = int(values.pop("global_step")), float(values.pop("loss")), float(values.pop("learning_rate"))
    except (KeyError, ValueError):
        return None
    more = {key: _measured(key, text) for key, text in values.items()}
    return StepLogged(step, loss, rate, {key: number for key, number in more.items() if number is not None})


def parse_saved(line: str) -> int | None:
    """Return the step of the checkpoint whose saving a line ends, or ``None``."""
    text = _values(line).get("global_save_step", "")
    return int(text) if text.isdecimal() else None


def parse_failure(line: str, name: str) -> OcrvlError | None:
    """Return what a line says of a failure, in words for the user of the run ``name``; ``None`` where it says none."""
    for pattern, message, hint in _FAILURES:
        if pattern.search(line):
            return OcrvlError(message, hint.replace("NAME", name))
    return None


def _values(line: str) -> dict[str, str]:
    """Return the ``key: value`` pairs of a log line; nothing where it is another kind of line."""
    plain = _COLOUR.sub("", line)
    prefix = _PREFIX.match(plain)
    if prefix is None:
        return {}
    pairs = [_PAIR.fullmatch(part) for part in plain[prefix.end() :].split(", ")]
    return {pair[1]: pair[2] for pair in pairs if pair} if all(pairs) else {}


def _measured(key: str, text: str) -> float | None:
    if _NOT_MEASURED.search(key):
        return None
    try:
        return float(text)
    except ValueError:
        return None


_WRONG_VERSIONS = "use the image that ocrvl builds for it (--backend modal), or the versions in docs/engine-erniekit.md"
_GO_ON_ELSEWHERE = "ocrvl train --name NAME --gpu H100 goes on from the last checkpoint"

_FAILURES = tuple(
    (re.compile(pattern), message, hint)
    for pattern, message, hint in (
        (
            r"LossNan|Loss contains inf or nan",
            "the loss became NaN or infinite, and ERNIEKit stopped",
            "in a new run, lower optimizer.learning_rate, or take an A100 or H100: on some other GPUs the same"
            " configuration is known to give NaN",
        ),
        (
            r"Out of memory error on GPU|ResourceExhaustedError|CUDA error\(2\)|out of memory \(at ",
            "the GPU ran out of memory",
            f"{_GO_ON_ELSEWHERE}; or, in a new run, halve batch.per_device and double batch.gradient_accumulation",
        ),
        (
            r"Output directory \(.*\) already exists and is not empty",
            "ERNIEKit found files in its output folder that are no checkpoint",
            "move them out of the run's checkpoints folder, then ocrvl train --name NAME",
        ),
        (
            r"No module named 'paddle\.distributed\.flex_checkpoint'",
            "this PaddlePaddle is not the one that ERNIEKit needs (3.2)",
            _WRONG_VERSIONS,
        ),
        (
            r"cannot import name .* from 'paddleformers|No module named 'paddleformers\.",
            "this PaddleFormers is not the one that ERNIEKit needs (0.4.0 or 0.4.1)",
            _WRONG_VERSIONS,
        ),
        (
            r"No module named '(paddle|paddleformers|erniekit|ernie|GPUtil|omegaconf)'",
            "ERNIEKit is not wholly installed here",
            _WRONG_VERSIONS,
        ),
        (
            r"framework paddle is invalid",
            "this safetensors cannot read weights for Paddle",
            _WRONG_VERSIONS,
        ),
        (
            r"[Bb]us error.*shared memory|insufficient shared memory|DataLoader.*/dev/shm",
            "the processes that prepare images ran out of shared memory",
            "in a new run, --set batch.num_workers=1; or give the container more /dev/shm",
        ),
    )
)
