"""Whether a recipe becomes a configuration that the engine itself reads: all of a start but the training."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ocrvl_modal.doctor.findings import Finding, failed, passed, skipped
from ocrvl_modal.doctor.subject import Subject, rebuild
from ocrvl_modal.engines import LIBRARIES
from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.engines.erniekit import keys, workspace
from ocrvl_modal.engines.libraries import is_installed
from ocrvl_modal.engines.paddleformers.engine import PaddleFormersEngine, import_paths
from ocrvl_modal.engines.tiny import make_tiny_model
from ocrvl_modal.engines.trainer.config import read_config
from ocrvl_modal.engines.transformers import TransformersEngine
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import dump_value, recipe_from
from ocrvl_modal.runs.layout import RunLayout

_STEPS, _WARMUP_STEPS = 12, 3
_LEARNING_RATE = 3e-4
_PADDLEFORMERS_PARTS = (
    ("model_args", "ModelArguments"),
    ("data_args", "DataArguments"),
    ("preprocess_args", "End2EndProcessorArguments"),
    ("generating_args", "GeneratingArguments"),
    ("finetuning_args", "FinetuningArguments"),
)


def config(subject: Subject) -> Finding:
    """Write the configuration of a tiny run for the engine, or for each that is installed here, and have it read."""
    engines = [subject.engine] if subject.is_image and subject.engine else _installed_engines()
    if not engines:
        return skipped("no engine is installed here", "pip install 'ocrvl-modal[local]'")
    evidence: dict[str, Any] = {}
    for engine in engines:
        missing = [name for name in LIBRARIES.get(engine, ()) if not is_installed(name)]
        if missing:
            return failed(f"{engine} cannot read it without {', '.join(missing)}", rebuild(subject.name), **evidence)
        try:
            evidence[engine] = _READERS[engine](subject.scratch / engine)
        except OcrvlError as error:
            return failed(f"{engine}: {error.message}", error.hint, **evidence)
        except (ValueError, TypeError, KeyError) as error:
            return failed(
                f"{engine} does not take the configuration that ocrvl writes: {error}",
                f"another version of {engine} than ocrvl was made for: ocrvl doctor deps",
                **evidence,
            )
    return passed(f"{' and '.join(engines)} {'reads' if len(engines) == 1 else 'read'} what ocrvl writes", **evidence)


def _installed_engines() -> list[str]:
    found = [name for name, libraries in LIBRARIES.items() if all(map(is_installed, libraries))]
    return found + (["erniekit"] if (workspace.ernie_home() / keys.OFFICIAL_CONFIG).is_file() else [])


def _read_by_transformers(scratch: Path) -> str:
    job = _job(scratch, "transformers")
    read = read_config(TransformersEngine().write_config(job))
    if (read.schedule.max_steps, read.optimizer.learning_rate) != (_STEPS, _LEARNING_RATE):
        raise ValueError(f"it reads {read.schedule.max_steps} steps at {read.optimizer.learning_rate}")
    return f"{len(read.model_dump())} keys"


def _read_by_paddleformers(scratch: Path) -> str:
    """Have PaddleFormers' own parser read the file; it stops at a key that it does not know.

    Its own function that reads a configuration also removes the shared memory of other runs on this machine, so the
    parser is called by itself.
    """
    engine, job = PaddleFormersEngine(), _job(scratch, "paddleformers")
    file = engine.write_config(job)
    sys.path[:0] = import_paths()
    os.environ.update(engine.environment(job))
    trainer: Any = importlib.import_module("paddleformers.trainer")
    parts = [
        getattr(importlib.import_module(f"paddleformers.cli.hparams.{module}"), name)
        for module, name in _PADDLEFORMERS_PARTS
    ]
    from ocrvl_modal.engines.paddleformers.templates import register_templates

    register_templates()
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    count = len(told)
    # The file that this names puts our signal handlers into a process that trains.
    told.pop("custom_register_path")
    *parsed, unknown = trainer.PdArgumentParser(parts).parse_dict(told, return_unknown_ars=True)
    if unknown:
        raise ValueError(f"it does not know {', '.join(map(str, unknown))}")
    finetuning = parsed[-1]
    if (finetuning.max_steps, finetuning.learning_rate) != (_STEPS, _LEARNING_RATE):
        raise ValueError(f"it reads {finetuning.max_steps} steps at {finetuning.learning_rate}")
    return f"{count} keys, on the device {told['device']}"


def _read_by_erniekit(_scratch: Path) -> str:
    """Read the documented configuration in ERNIE's tree, and what the command adds to it as the command line does.

    ERNIEKit takes any key without a word, and its own parser wants a GPU: nothing more can be known before it trains.
    """
    home = workspace.ernie_home()
    workspace.require_installation(home)
    told = yaml.safe_load((home / keys.OFFICIAL_CONFIG).read_text(encoding="utf-8"))
    if not isinstance(told, Mapping) or str(told.get("stage")).upper() != "OCR-VL-SFT":
        raise ValueError(f"{keys.OFFICIAL_CONFIG} is not for the stage OCR-VL-SFT")
    recipe = recipe_from({"model": {"name": "paddleocr-vl-0.9b"}, "engine": "erniekit"})
    keys.check_config(recipe)
    added = keys.overrides(recipe, _STEPS, _WARMUP_STEPS)
    for key, value in added.items():
        if yaml.safe_load(dump_value(value)) != value:
            raise ValueError(f"{key} is written as {dump_value(value)}, which reads otherwise")
    return f"{len(told)} keys of its own, {len(added)} of the recipe"


_READERS: Mapping[str, Callable[[Path], str]] = {
    "transformers": _read_by_transformers,
    "paddleformers": _read_by_paddleformers,
    "erniekit": _read_by_erniekit,
}


def _job(scratch: Path, engine: str) -> EngineJob:
    """Return a tiny run: the toy model and four images, made here."""
    from ocrvl_modal.data.synthesis.digits import synthesize_digits

    make_tiny_model(scratch / "model")
    synthesize_digits(scratch / "digits", train=2, validation=1, test=1)
    recipe = recipe_from(
        {
            "model": {"name": "tiny"},
            "engine": engine,
            "data": {"train": str(scratch / "digits" / "train.jsonl")},
            "optimizer": {"learning_rate": _LEARNING_RATE},
        }
    )
    layout = RunLayout(scratch / "run")
    attempt = layout.attempt(1)
    for folder in (attempt.root, layout.checkpoints, scratch / "scratch"):
        folder.mkdir(parents=True, exist_ok=True)
    return EngineJob(
        recipe=recipe,
        member=FAMILY["tiny"],
        model=scratch / "model",
        train=scratch / "digits" / "train.jsonl",
        validation=None,
        max_steps=_STEPS,
        warmup_steps=_WARMUP_STEPS,
        attempt=attempt,
        checkpoints=layout.checkpoints,
        resume_from=None,
        scratch=scratch / "scratch",
    )
