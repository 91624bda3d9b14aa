"""``ocrvl train --engine erniekit``, the installed command, on the local backend and ERNIEKit's stand-in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Said, Shell
from erniekit.conftest import Ernie, make_ernie


@pytest.fixture
def place(shell: Shell, tmp_path: Path) -> tuple[Shell, Ernie]:
    """A home with the tiny model under the name of a 0.9B one in ``./model``, and ERNIEKit as it were installed."""
    ernie = make_ernie(tmp_path)
    shutil.copytree(shell.home / "stores" / "models" / "tiny", shell.cwd / "model")
    (shell.cwd / "model" / "ocrvl.json").write_text('{"family": "paddleocr-vl-0.9b"}')
    return shell, ernie


def train(place: tuple[Shell, Ernie], *arguments: str | Path, code: int = 0) -> Said:
    shell, ernie = place
    return shell(
        *("train", "--data", "digits/train.jsonl", "--backend", "local", "--json"),
        *arguments,
        code=code,
        PATH=f"{ernie.programs}{os.pathsep}{os.environ['PATH']}",
        OCRVL_ERNIE_HOME=str(ernie.home),
    )


# The plan asks for the disk that a real 0.9B model needs.
@pytest.mark.skipif(shutil.disk_usage("/").free < 40 << 30, reason="a plan for a 0.9B model asks for 32 GiB of disk")
def test_a_run_on_erniekit_ends_in_an_export_that_reads(place: tuple[Shell, Ernie]) -> None:
    sets = (
        *("schedule.max_steps=5", "checkpoint.save_steps=2", "checkpoint.save_total_limit=1"),
        *("pixels.minimum=1568", "pixels.maximum=12544"),
    )
    said = train(
        place,
        *("--model", "./model", "--engine", "erniekit", "--name", "first"),
        *(word for value in sets for word in ("--set", value)),
    )
    shell, ernie = place
    assert said.data["run"]["state"] == "done"
    assert said.data["run"]["engine"] == "erniekit"
    assert [row["step"] for row in shell.metrics("first")] == [1, 2, 3, 4, 5]
    assert any("no evaluation loss" in warning for warning in said.json["warnings"])
    export = shell.run_folder("first") / "export"
    assert (export / "model.safetensors").is_file()
    assert not (export / "model.safetensors.index.json").exists()
    assert (export / "chat_template.jinja").is_file()
    assert ernie.links() == []


def test_a_configuration_of_ones_own_is_planned_with_and_travels_in_the_recipe(place: tuple[Shell, Ernie]) -> None:
    shell, _ = place
    (shell.cwd / "mine.yaml").write_text(
        "max_steps: 7\nlearning_rate: 1.0e-5\nfreeze_config: freeze_vision\noutput_dir: ./x\nfreeze_lmm: 1\n"
    )
    said = train(place, "--model", "./model", "--config-path", "mine.yaml", "--set", "seed=3", "--dry-run")
    recipe: dict[str, Any] = said.data["recipe"]
    assert (said.data["plan"]["max_steps"], recipe["optimizer"]["learning_rate"], recipe["seed"]) == (7, 1e-5, 3)
    assert (recipe["engine"], recipe["engine_config"]) == (
        "erniekit",
        {"freeze_config": "freeze_vision", "freeze_lmm": 1},
    )
    about_the_file, about_the_key, *_ = said.json["warnings"]
    assert about_the_file == "mine.yaml: ocrvl decides output_dir for each run"
    assert "'freeze_lmm' is not in its documentation" in about_the_key
    (shell.cwd / "again.yaml").write_text(yaml.safe_dump(recipe))
    again = train(place, "again.yaml", "--dry-run")
    assert again.data["recipe"]["engine_config"] == recipe["engine_config"]


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        (("--model", "1.6", "--engine", "erniekit"), "hallucinate", "--engine paddleformers"),
        (("--model", "0.9b", "--engine", "erniekit", "--method", "lora"), "adapters", "--engine paddleformers"),
        (
            ("--model", "tiny", "--engine", "transformers", "--config-path", "mine.yaml"),
            "erniekit",
            "--engine erniekit",
        ),
        (("--model", "0.9b", "--config-path", "mine.yaml", "--set", "schedule.kind=linear"), "linear", "cosine"),
    ],
)
def test_what_erniekit_must_not_do_is_refused_before_anything_is_started(
    place: tuple[Shell, Ernie], arguments: tuple[str, ...], words: str, hint: str
) -> None:
    shell, _ = place
    (shell.cwd / "mine.yaml").write_text("stage: OCR-VL-SFT\n")
    said = train(place, *arguments, code=2)
    assert words in said.json["error"]["message"]
    assert hint in said.json["error"]["hint"]


def test_a_configuration_that_is_not_there_is_told(place: tuple[Shell, Ernie]) -> None:
    said = train(place, "--model", "0.9b", "--config-path", "nowhere.yaml", code=5)
    assert "there is no configuration nowhere.yaml" in said.json["error"]["message"]
