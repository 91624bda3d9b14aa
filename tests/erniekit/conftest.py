"""A machine that looks to us as if ERNIEKit were installed on it, with a GPU."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.standin import STEPS, House
from ocrvl_modal import files, locks
from ocrvl_modal.engines.erniekit import ErnieKitEngine
from ocrvl_modal.engines.erniekit.keys import OFFICIAL_CONFIG
from ocrvl_modal.jobs import train
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import TrainRecipe, recipe_from

STANDIN = Path(__file__).with_name("standin_erniekit.py")
MEMBER = FAMILY["paddleocr-vl-0.9b"]
LEARNING_RATE = 5e-6

# Keys and values of the documented configuration that decide something here.
OFFICIAL = {
    "train_dataset_type": "erniekit",
    "train_dataset_path": "./examples/data/sft.jsonl",
    "max_seq_len": 16384,
    "model_name_or_path": "PaddlePaddle/PaddleOCR-VL",
    "fine_tuning": "Full",
    "stage": "OCR-VL-SFT",
    "packing": True,
    "packing_size": 8,
    "max_steps": 926,
    "save_steps": 200,
    "save_total_limit": 5,
    "recompute": True,
    "compute_type": "bf16",
    "output_dir": "./PaddleOCR-VL-SFT",
    "logging_dir": "./PaddleOCR-VL-SFT/tensorboard_logs/",
}


def learned_after(steps: int, *, pixels: tuple[int, int] = (MEMBER.pixels.minimum, MEMBER.pixels.maximum)) -> str:
    """What an undisturbed run has learned after so many steps."""
    learned = f"fresh {pixels[0]} {pixels[1]} {LEARNING_RATE}"
    for step in range(1, steps + 1):
        learned = hashlib.sha256(f"{learned} {step}".encode()).hexdigest()
    return learned


@dataclass(frozen=True)
class Ernie:
    """ERNIE's source tree, and a folder of programs to put first on the path."""

    home: Path
    programs: Path

    def links(self) -> list[str]:
        """All links that lie in the tree."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_symlink())


def make_ernie(folder: Path, gpus: int = 1) -> Ernie:
    """Make the tree and the programs."""
    ernie = Ernie(folder / "ERNIE", folder / "programs")
    files.write_text(ernie.home / OFFICIAL_CONFIG, yaml.safe_dump(OFFICIAL))
    listing = "\n".join(f"GPU {number}: Toy {number} (UUID: GPU-{number})" for number in range(gpus))
    for name, text in {
        "nvidia-smi": f"cat <<'END'\n{listing}\nEND\n",
        "erniekit": f'exec "{sys.executable}" "{STANDIN}" "$@"\n',
    }.items():
        files.write_text(ernie.programs / name, f"#!/bin/sh\n{text}")
        (ernie.programs / name).chmod(0o755)
    return ernie


@pytest.fixture
def ernie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ernie:
    """ERNIEKit as it were installed, and one GPU."""
    ernie = make_ernie(tmp_path)
    monkeypatch.setenv("PATH", f"{ernie.programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OCRVL_ERNIE_HOME", str(ernie.home))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return ernie


class ErnieHouse(House):
    """A house with a 0.9B model that is no larger than a label."""

    def furnish(self) -> None:
        super().furnish()
        model = self.places.models / MEMBER.name
        files.write_json(model / "config.json", {})
        files.write_json(model / "ocrvl.json", {"family": MEMBER.name})
        files.write_json(model / "preprocessor_config.json", {"min_pixels": 784, "max_pixels": 1568})
        header = json.dumps({"head": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        files.write_bytes(model / "model.safetensors", len(header).to_bytes(8, "little") + header + bytes(4))

    def recipe(self, *sets: str) -> TrainRecipe:
        written = {
            "model": {"name": MEMBER.name},
            "engine": "erniekit",
            "data": {"train": str(self.data)},
            "schedule": {"max_steps": STEPS},
            "checkpoint": {"save_steps": 2},
        }
        return recipe_from(written, sets)

    def learned(self, name: str) -> str:
        state: dict[str, Any] = json.loads((self.layout(name).export / "trainer_state.json").read_text())
        return str(state["learned"])


def export_with_state(*, checkpoint: Path, out: Path, **_: Any) -> None:
    """Stand in for the real export, which needs torch."""
    with files.new_folder(out) as beside:
        for name in ("model-00001-of-00001.safetensors", "config.json", "trainer_state.json"):
            shutil.copyfile(checkpoint / name, beside / name)


@pytest.fixture
def house(tmp_path: Path, ernie: Ernie, monkeypatch: pytest.MonkeyPatch) -> ErnieHouse:
    """A home with a 0.9B model and a dataset; the training job is the real one, on the real engine's code."""
    house = ErnieHouse(tmp_path / "home")
    house.furnish()
    monkeypatch.setattr(train, "export_model", export_with_state)
    monkeypatch.setattr(train, "check_prompt_identity", lambda *_: None)
    monkeypatch.setattr(locks, "_PROBE_GRACE_S", 0.05)
    return house


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Any]:
    """Return what makes the job of one attempt: ``make_job("seed=5", resume_from=Path(…))``."""
    from ocrvl_modal.engines.base import EngineJob
    from ocrvl_modal.runs.layout import RunLayout

    def make(*sets: str, name: str = "a", **changes: Any) -> EngineJob:
        house = ErnieHouse(tmp_path / "home")
        house.furnish()
        layout = RunLayout.of(house.places.outputs, name)
        layout.checkpoints.mkdir(parents=True, exist_ok=True)
        scratch = tmp_path / "scratch" / name
        scratch.mkdir(parents=True)
        return EngineJob(
            **{
                "recipe": house.recipe(*sets),
                "member": MEMBER,
                "model": house.places.models / MEMBER.name,
                "train": house.data,
                "validation": None,
                "max_steps": STEPS,
                "warmup_steps": 1,
                "attempt": layout.attempt(1),
                "checkpoints": layout.checkpoints,
                "resume_from": None,
                "scratch": scratch,
                **changes,
            }
        )

    return make


@pytest.fixture
def engine() -> ErnieKitEngine:
    return ErnieKitEngine()
