"""``ocrvl doctor`` as it is typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import Shell
from ocrvl_modal.upkeep.machine import MACHINE_CHECKS, judge_disk

GIB = 1 << 30
NOBODY = "http://127.0.0.1:9"
TOKEN = {"MODAL_TOKEN_ID": "ak-0123456789", "MODAL_TOKEN_SECRET": "as-never-to-be-seen"}


def by_name(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in data["checks"]}


def test_named_checks_alone_are_run_and_told_as_json(bare_shell: Shell) -> None:
    said = bare_shell("doctor", "python", "settings", "prompt", "paddle-gpu", "--json")
    checks = by_name(said.data)
    assert list(checks) == ["python", "settings", "prompt", "paddle-gpu"], (
        "in the order of the machine's, then as named"
    )
    assert checks["settings"]["evidence"]["backend"] == "local"
    assert checks["prompt"]["verdict"] == "pass"
    assert checks["paddle-gpu"]["verdict"] == "skip"
    assert (said.data["passed"], said.data["failed"], said.data["skipped"]) == (3, 0, 1)
    assert list((bare_shell.home / "scratch").iterdir()) == []


def test_a_failure_ends_in_exit_code_1_and_is_the_last_row(shell: Shell) -> None:
    weights = shell.home / "stores" / "models" / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    said = shell("doctor", "model-files", "python", "cuda", code=1)
    lines = said.out.splitlines()
    verdicts = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in ("pass", "skip", "fail")]
    assert verdicts == ["pass", "skip", "fail"]
    assert "by its header" in said.out
    assert "ocrvl download model tiny --force" in said.out
    assert lines[-1].startswith("1 passed, 1 skipped, 1 failed, in ")


def test_an_unknown_check_is_a_usage_error_with_the_nearest_one(bare_shell: Shell) -> None:
    said = bare_shell("doctor", "modelfiles", code=2)
    assert "did you mean 'model-files'?" in said.err


def test_a_named_check_whose_library_is_missing_fails(bare_shell: Shell) -> None:
    said = bare_shell("doctor", "vllm-import", "--json", code=1)
    assert by_name(said.data)["vllm-import"]["reason"] == "vllm is not installed"


def test_images_are_not_on_this_machine(bare_shell: Shell) -> None:
    for option in (("--remote",), ("--image", "light"), ("--gpu", "L4")):
        said = bare_shell("doctor", *option, "--backend", "local", code=2)
        assert "images on Modal" in said.err
    assert "there is no GPU named 'L5'" in bare_shell("doctor", "--gpu", "L5", code=2).err
    assert "there is no image named 'lihgt'" in bare_shell("doctor", "--image", "lihgt", code=2).err
    assert "unknown backend 'lokal'" in bare_shell("doctor", "--backend", "lokal", code=2).err


def test_a_gpu_is_not_rented_without_a_word(bare_shell: Shell) -> None:
    said = bare_shell("doctor", "--gpu", "L4:2", code=2)
    assert "Rent L4:2 on Modal at $1.60 an hour" in said.err
    assert "--yes" in said.err


def test_settings_that_cannot_be_read_are_one_failure_among_results(bare_shell: Shell) -> None:
    bare_shell.home.mkdir()
    (bare_shell.home / "settings.yaml").write_text("backend: [")
    checks = by_name(bare_shell("doctor", *MACHINE_CHECKS, "--json", code=1).data)
    assert set(checks) == set(MACHINE_CHECKS)
    assert "is not YAML" in checks["settings"]["reason"]
    assert checks["stores"]["verdict"] == "skip"
    assert checks["python"]["verdict"] == "pass"


def test_without_a_token_there_is_nothing_to_ask_modal_unless_it_is_meant(bare_shell: Shell) -> None:
    local = by_name(bare_shell("doctor", "token", "--json").data)["token"]
    assert (local["verdict"], local["reason"]) == ("skip", "this machine uses the local backend")
    meant = by_name(bare_shell("doctor", "token", "--backend", "modal", "--json", code=1).data)["token"]
    assert (meant["verdict"], meant["reason"]) == ("fail", "this machine has no Modal token")
    assert "modal setup" in meant["hint"]


def test_a_modal_that_does_not_answer_is_a_result_for_each_image(bare_shell: Shell) -> None:
    said = bare_shell(
        *("doctor", "token", "stores", "python", "--image", "light", "--image", "train-erniekit", "--json"),
        code=1,
        MODAL_SERVER_URL=NOBODY,
        **TOKEN,
    )
    told = {(check["place"], check["check"]): check for check in said.data["checks"]}
    assert "does not answer" in told["this machine", "token"]["reason"]
    assert told["this machine", "stores"]["verdict"] == "skip"
    assert told["this machine", "python"]["verdict"] == "pass"
    for image in ("light", "train-erniekit"):
        assert told[image, "start"]["verdict"] == "fail"
    assert TOKEN["MODAL_TOKEN_SECRET"] not in json.dumps(said.data)


def test_a_wheel_that_nobody_verified_is_a_failure(bare_shell: Shell) -> None:
    assert by_name(bare_shell("doctor", "wheels", "--json").data)["wheels"]["verdict"] == "skip"
    folder = bare_shell.cwd / "wheels"
    folder.mkdir()
    (folder / "paddlepaddle_gpu-3.2.0-cp312-cp312-linux_x86_64.whl").write_bytes(b"half a wheel")
    wheels = by_name(bare_shell("doctor", "wheels", "--json", code=1).data)["wheels"]
    assert "not in the manifest" in wheels["reason"]
    assert wheels["hint"].startswith("ocrvl wheel verify wheels/")


@pytest.mark.parametrize(
    ("free", "verdict", "word"),
    [
        (1 * GIB, "fail", "are the least"),
        (10 * GIB, "pass", "here takes 60"),
        (99 * GIB, "pass", "enough to train all"),
    ],
)
def test_the_disk_is_held_against_what_a_run_writes(free: int, verdict: str, word: str) -> None:
    finding = judge_disk(free, least=2 * GIB, full=60 * GIB)
    assert (finding.verdict, word in finding.reason) == (verdict, True)


def test_the_quick_ones_are_three(bare_shell: Shell) -> None:
    said = bare_shell("doctor", "--quick", "--json")
    assert set(by_name(said.data)) == {"python", "transformers-import", "cuda"}


def test_a_folder_with_a_model_of_ones_own_is_examined_too(shell: Shell, tiny: Path) -> None:
    shutil.copytree(tiny, shell.home / "stores" / "models" / "mine")
    checks = by_name(shell("doctor", "model-files", "prompt", "--json").data)
    assert set(checks["prompt"]["evidence"]["prompts"]) == {"mine", "tiny"}
