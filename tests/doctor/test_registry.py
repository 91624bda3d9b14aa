"""Which checks belong where, and what must be there before one begins."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import Shell
from ocrvl_modal.doctor.registry import CHECKS, ENVIRONMENTS, Check, select, why_not
from ocrvl_modal.doctor.subject import MACHINE, Subject
from ocrvl_modal.engines import ENGINE_NAMES
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.image import IMAGES
from ocrvl_modal.pins import FRAMEWORK_WHEELS
from ocrvl_modal.places import Places
from ocrvl_modal.upkeep.examination import START, Asked, chosen_images
from ocrvl_modal.upkeep.machine import MACHINE_CHECKS

DOCS = Path(__file__).parents[2] / "docs" / "doctor.md"
# All that the issue names.
NAMED = (
    *("python", "cuda", "paddle", "paddle-gpu", "ernie", "ernie-import", "ernie-cmd", "deps", "config"),
    *("paddleformers-import", "paddleformers-cmd", "vllm-import", "flash-attention", "bf16", "nccl", "shm"),
    *("disk-speed", "model-files", "prompt"),
)


def subject(tmp_path: Path, **facts: Any) -> Subject:
    return Subject(places=Places.under(tmp_path), **facts)


def needing(*libraries: str, **options: Any) -> Check:
    return Check("sample", "nowhere:nothing", "a sample", needs=libraries, **options)


def test_every_named_check_is_there_and_has_a_function() -> None:
    assert set(NAMED) <= set(CHECKS)
    for check in CHECKS.values():
        module, _, function = check.run.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), check.name


def test_every_image_has_its_checks_and_three_of_them_are_essential() -> None:
    assert set(IMAGES) | {MACHINE} == set(ENVIRONMENTS)
    for name, environment in ENVIRONMENTS.items():
        assert set(environment.checks) <= set(CHECKS), name
        assert set(environment.essential) <= set(environment.checks), name
        assert len(set(environment.essential)) == 3, name


def test_an_image_is_not_asked_for_another_ones_engine() -> None:
    assert not {"ernie", "ernie-import", "ernie-cmd", "vllm-import"} & set(ENVIRONMENTS["train-paddleformers"].checks)
    assert not {"paddleformers-cmd", "vllm-import"} & set(ENVIRONMENTS["train-erniekit"].checks)
    assert not {"paddle", "cuda", "bf16"} & set(ENVIRONMENTS["light"].checks)


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_the_image_of_an_engine_is_asked_whether_its_engine_imports(engine: str) -> None:
    environment = ENVIRONMENTS[f"train-{engine}"]
    imports = "ernie-import" if engine == "erniekit" else f"{engine}-import"
    assert environment.engine == engine
    assert imports in environment.essential


def test_checks_are_those_that_are_named_or_the_essential_or_all() -> None:
    light = ENVIRONMENTS["light"]
    assert select((), light) == light.checks
    assert select((), light, quick=True) == light.essential
    assert select(("paddle", "cuda", "paddle"), light) == ("paddle", "cuda")


def test_an_unknown_check_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(OcrvlError, match="there is no check named 'pyton'") as caught:
        Asked(("pyton",))
    assert (caught.value.hint, caught.value.code) == ("did you mean 'python'?", ExitCode.USAGE)


def test_a_missing_library_is_a_failure_only_where_its_engine_is_wanted(tmp_path: Path) -> None:
    check = needing("no_such_library", engine="paddleformers")
    unwanted = why_not(check, subject(tmp_path, engine="transformers"))
    wanted = why_not(check, subject(tmp_path, engine="paddleformers"))
    named = why_not(check, subject(tmp_path, named=True))
    in_image = why_not(check, subject(tmp_path, name="train-paddleformers"))
    assert unwanted and wanted and named and in_image
    assert [each.verdict for each in (unwanted, wanted, named, in_image)] == ["skip", "fail", "fail", "fail"]
    assert "pip install 'ocrvl-modal[paddle]'" in unwanted.hint
    assert wanted.reason == named.reason == "no_such_library is not installed"
    assert why_not(needing("json", engine="paddleformers"), subject(tmp_path)) is None


def test_a_folder_by_the_name_of_a_library_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_such_library").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = why_not(needing("no_such_library", engine="vllm"), subject(tmp_path, named=True))
    assert finding
    assert finding.verdict == "fail"


def test_a_check_in_a_wrong_image_says_which_is_the_right_one(tmp_path: Path) -> None:
    finding = why_not(CHECKS["vllm-import"], subject(tmp_path, name="light", named=True))
    assert finding
    assert (finding.verdict, finding.hint) == ("fail", "--image serve-vllm is made for it")


def test_without_a_gpu_what_needs_one_is_skipped_and_a_rented_one_that_is_not_there_fails(tmp_path: Path) -> None:
    gpu = needing(gpus=1)
    here = why_not(gpu, subject(tmp_path))
    there = why_not(gpu, subject(tmp_path, name="light"))
    rented = why_not(gpu, subject(tmp_path, name="light", rented_gpu="L4"))
    assert here and there and rented
    assert (here.verdict, here.reason) == ("skip", "this machine has no NVIDIA GPU")
    assert (there.verdict, there.reason) == ("skip", "no GPU in this container")
    assert there.hint == "--gpu L4 rents one"
    assert (rented.verdict, rented.reason) == ("fail", "L4 was rented, and this container shows no GPU")
    assert why_not(gpu, subject(tmp_path, gpus=("NVIDIA L4",))) is None


def test_one_gpu_has_nobody_to_add_up_with(tmp_path: Path) -> None:
    finding = why_not(CHECKS["nccl"], subject(tmp_path, gpus=("NVIDIA L4",), rented_gpu="L4"))
    assert finding
    assert (finding.verdict, finding.reason) == ("skip", "it takes 2 GPUs, and there is one")


def test_images_are_the_one_of_the_default_model_or_those_that_are_named() -> None:
    assert chosen_images(()) == ["train-paddleformers"]
    assert chosen_images(("light", "train-erniekit", "light")) == ["light", "train-erniekit"]
    assert chosen_images(("all",)) == list(IMAGES)
    with pytest.raises(OcrvlError, match="there is no image named 'train-ernie'"):
        chosen_images(("train-ernie",))


@pytest.mark.parametrize("name", FRAMEWORK_WHEELS)
def test_the_pins_of_an_image_are_those_of_its_own_python(name: str) -> None:
    pins = IMAGES[name].pinned()
    assert pins["paddlepaddle-gpu"] == FRAMEWORK_WHEELS[name].version
    assert all(re.fullmatch(r"\d[\w.]*", version) for version in pins.values()), pins
    if name == "train-erniekit":
        assert pins["numpy"] == "1.26.4", "the last layer decides"
        assert pins["transformers"].startswith("4."), "the reader's Python is another"


def test_naming_a_check_leaves_out_what_was_not_named() -> None:
    assert Asked(("token",)).of_machine == ("token",)
    assert not Asked(("token",)).wants_job
    assert Asked(("prompt",)).of_machine == ()
    assert Asked(quick=True).of_machine == ()
    assert Asked(quick=True).wants_job


def test_the_page_tells_of_every_check_and_of_no_other() -> None:
    told = set(re.findall(r"^\| `([a-z0-9-]+)` \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert told == {*CHECKS, *MACHINE_CHECKS, START}


def test_the_help_names_every_check(bare_shell: Shell) -> None:
    page = bare_shell("doctor", "--help").out.partition("Checks of this machine:")[2].partition("Example:")[0]
    words = {word for line in page.splitlines() if not line.endswith(":") for word in line.split()}
    assert words == {*CHECKS, *MACHINE_CHECKS}
