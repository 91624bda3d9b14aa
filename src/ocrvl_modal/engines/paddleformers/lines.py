"""What PaddleFormers prints, and what our registered file prints among it.

Its log lines look like ``[2026-11-21 07:26:26,138] [    INFO] - loss: 4.7, learning_rate: 0.0005, global_step: 1, …``,
with colours around the level. Other lines name steps too (``[DataLoad global_step: 1] …``, ``global_save_step: 4``), so
only a body that begins with the right word counts. A progress bar may stand before it on the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ocrvl_modal.engines.base import StepLogged
from ocrvl_modal.engines.trainer.lines import parse_error, parse_saved
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.recipes import TrainRecipe

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"\[[^\]]*\] \[ *[A-Z]+\] - ")
_PAIR = re.compile(r"(\w+): (-?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|inf|nan))")
_MEASURED = {"interval_samples_per_second": "samples_per_second", "max_memory_reserved": "gpu_memory_gib"}
"""What else of a step is kept. The tokens a second are not: PaddleFormers computes them from the longest sample."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation loss."""

    loss: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint that every process has finished writing."""

    step: int


@dataclass(frozen=True)
class Failure:
    """Why PaddleFormers gave up: what it said, and which of the known reasons it is."""

    kind: str
    text: str

    def error(self, recipe: TrainRecipe) -> OcrvlError:
        """Return it in words for the user, with what mends it in this recipe."""
        smaller = max(1, recipe.batch.per_device // 2)
        lower = f"{recipe.optimizer.learning_rate / 3:.1g}"
        message, hint = {
            "memory": (
                f"the memory is too small for batches of {recipe.batch.per_device} samples",
                f"--set batch.per_device={smaller} with more batch.gradient_accumulation"
                if recipe.gradient_checkpointing
                else "--set gradient_checkpointing=true",
            ),
            "diverged": (
                "training diverged: the loss is infinite or no number",
                f"train under another --name with --set optimizer.learning_rate={lower}",
            ),
            "library": (f"PaddleFormers cannot run here: {self.text}", "pip install 'ocrvl-modal[paddle]'"),
            "key": (
                f"this PaddleFormers is not the version that ocrvl knows: {self.text}",
                "pip install 'ocrvl-modal[paddle]'",
            ),
            "file": (f"PaddleFormers misses a file: {self.text}", "ocrvl data check FILE; ocrvl download model NAME"),
        }[self.kind]
        return OcrvlError(message, hint)


@dataclass(frozen=True)
class Told:
    """An error that our registered file put into words."""

    told: OcrvlError

    def error(self, recipe: TrainRecipe) -> OcrvlError:  # noqa: ARG002 - it is in words already
        """Return it."""
        return self.told


Read = StepLogged | Evaluation | Saved | Failure | Told

_FAILURES = (
    (
        "memory",
        re.compile(r"\w*(?:ResourceExhaustedError|MemoryError|OutOfMemoryError)\b.*|Out of memory error on GPU.*"),
    ),
    ("diverged", re.compile(r".*PaddleRecall error\(10[0-9]\): Loss(?:Nan|Inf).*")),
    ("library", re.compile(r"(?:ModuleNotFound|Import)Error: .*")),
    ("key", re.compile(r"ValueError: Some specified arguments are not used by the PdArgumentParser.*")),
    ("file", re.compile(r"FileNotFoundError: .*")),
)
"""How the last line of a traceback begins, for each known reason."""


def read(line: str) -> Read | None:
    """Return what a line tells, or ``None`` for one that tells nothing; never raises."""
    plain = _COLOUR.sub("", line).strip()
    prefix = _PREFIX.search(plain)
    body = plain[prefix.end() :] if prefix else plain
    if (step := parse_saved(body)) is not None:
        return Saved(step)
    if error := parse_error(body):
        return Told(error)
    if body.startswith("loss: "):
        return _step(_values(body))
    if body.startswith("eval_loss: "):
        return _evaluation(_values(body))
    return _failure(body)


def _values(body: str) -> dict[str, float]:
    pairs = [_PAIR.fullmatch(part) for part in body.split(", ")]
    return {pair[1]: float(pair[2]) for pair in pairs if pair}


def _step(values: dict[str, float]) -> StepLogged | None:
    """Return a step. Its learning rate is what PaddleFormers prints: that of the step which comes next."""
    try:
        step = int(values["global_step"])
        loss, rate = values["loss"], values["learning_rate"]
    except (KeyError, ValueError, OverflowError):
        return None
    more = {ours: values[theirs] for theirs, ours in _MEASURED.items() if theirs in values}
    return StepLogged(step, loss, rate, more)


def _evaluation(values: dict[str, float]) -> Evaluation | None:
    return Evaluation(values["eval_loss"]) if "eval_loss" in values else None


def _failure(body: str) -> Failure | None:
    for kind, pattern in _FAILURES:
        if pattern.fullmatch(body):
            return Failure(kind, body)
    return None
