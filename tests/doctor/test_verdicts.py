"""What each check makes of what it finds."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ocrvl_modal.doctor import gpu, stored_models, system, tensors, trainers
from ocrvl_modal.doctor.collective import add_up
from ocrvl_modal.doctor.configuration import config
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.engines.erniekit.keys import OFFICIAL_CONFIG
from ocrvl_modal.places import Places

MIB = 1 << 20


@pytest.fixture
def subject(tmp_path: Path) -> Callable[..., Subject]:
    scratch = tmp_path / "own"
    scratch.mkdir()
    return lambda **facts: Subject(places=Places.under(tmp_path / "home"), scratch=scratch, **facts)


MakeSubject = Callable[..., Subject]


def test_python_is_compared_with_that_of_the_image(subject: MakeSubject) -> None:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert system.python(subject(name="light", python=running)).verdict == "pass"
    other = system.python(subject(name="light", python="3.9"))
    assert other.verdict == "fail"
    assert "made with 3.9" in other.reason
    # 3.1 is not 3.11.
    assert system.python(subject(name="light", python="3.1")).verdict == "fail"


def test_shared_memory_must_hold_the_batches_of_every_worker(tmp_path: Path) -> None:
    enough = system.judge_shared_memory(free=900 * MIB, each=200 * MIB, workers=4, folder=tmp_path)
    assert (enough.verdict, enough.evidence["written_mib"]) == ("pass", 512)
    docker = system.judge_shared_memory(free=64 * MIB, each=200 * MIB, workers=4, folder=tmp_path)
    assert docker.verdict == "fail"
    assert "--set batch.num_workers=0" in docker.hint
    some = system.judge_shared_memory(free=500 * MIB, each=200 * MIB, workers=4, folder=tmp_path)
    assert "--set batch.num_workers=2" in some.hint
    assert list(tmp_path.iterdir()) == []


def test_shared_memory_that_only_says_it_is_free_fails(tmp_path: Path) -> None:
    finding = system.judge_shared_memory(free=900 * MIB, each=MIB, workers=4, folder=tmp_path / "nowhere")
    assert finding.verdict == "fail"
    assert "cannot be written" in finding.reason


@pytest.mark.parametrize(
    ("write", "read", "verdict", "word"),
    [
        (500, 900, "pass", "writes 500"),
        (40, 900, "pass", "slow"),
        (19, 900, "fail", "minutes"),
        (500, 5, "fail", "reads 5"),
    ],
)
def test_the_slower_of_writing_and_reading_decides(write: float, read: float, verdict: str, word: str) -> None:
    finding = system.judge_disk(write, read, 256)
    assert (finding.verdict, word in finding.reason) == (verdict, True)
    assert (finding.evidence["write_mb_per_s"], finding.evidence["read_mb_per_s"]) == (write, read)


def test_the_disk_is_really_written_and_read(subject: MakeSubject) -> None:
    finding = system.disk_speed(subject())
    assert finding.evidence["measured_mib"] > 0
    assert finding.evidence["write_mb_per_s"] > 0


def test_no_model_is_nothing_to_check(subject: MakeSubject) -> None:
    assert stored_models.model_files(subject()).verdict == "skip"


@pytest.fixture
def store(subject: MakeSubject, tiny: Path) -> Path:
    """The models store with two copies of the tiny model."""
    folder = subject().places.models
    for name in ("tiny", "other"):
        shutil.copytree(tiny, folder / name)
    return folder


def test_whole_models_pass_with_their_sizes(subject: MakeSubject, store: Path) -> None:
    finding = stored_models.model_files(subject())
    assert (finding.verdict, finding.reason) == ("pass", "whole: other, tiny")
    assert finding.evidence["size_bytes"]["tiny"] > 1_000_000


def _cut_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)


def _lose_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def _damage_header(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:8] + b"no json!" + weights.read_bytes()[16:])


def _empty_weights(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"")


def _note_another_size(model: Path) -> None:
    note = {
        "repository": "a/b",
        "revision": "main",
        "commit": "c",
        "files": {"config.json": {"size_bytes": 1, "sha256": ""}},
    }
    (model / ".complete").write_text(json.dumps(note))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_cut_weights, "by its header"),
        (_lose_weights, "no weights"),
        (_damage_header, "damaged header"),
        (_empty_weights, "its beginning is lost"),
        (_note_another_size, "config.json"),
    ],
)
def test_a_damaged_model_is_named_with_what_fetches_it_again(
    subject: MakeSubject, store: Path, damage: Callable[[Path], None], word: str
) -> None:
    damage(store / "tiny")
    finding = stored_models.model_files(subject())
    assert finding.verdict == "fail"
    assert finding.reason.startswith("tiny: ")
    assert word in finding.reason
    assert finding.hint == "ocrvl download model tiny --force"
    assert set(finding.evidence["problems"]) == {"tiny"}


def test_prompts_are_compared_with_each_models_own_template(subject: MakeSubject, store: Path) -> None:
    assert set(stored_models.prompt(subject()).evidence["prompts"]) == {"tiny", "other"}
    template = store / "tiny" / "chat_template.jinja"
    template.write_text(template.read_text().replace('{{ "Assistant: " }}', '{{ "Assistant:\\n" }}'))
    finding = stored_models.prompt(subject())
    assert finding.verdict == "fail"
    assert "would hallucinate" in finding.reason


def test_without_a_model_the_prompt_is_that_of_the_toy(subject: MakeSubject) -> None:
    finding = stored_models.prompt(subject())
    assert (finding.verdict, list(finding.evidence["prompts"])) == ("pass", ["tiny"])


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=me", "-c", "user.email=me@here", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def ernie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout that has ERNIE's documented configuration."""
    home = tmp_path / "ERNIE"
    (home / OFFICIAL_CONFIG).parent.mkdir(parents=True)
    (home / OFFICIAL_CONFIG).write_text("stage: OCR-VL-SFT\n")
    git(home, "init", "--quiet", "--initial-branch", "main")
    git(home, "add", ".")
    git(home, "commit", "--quiet", "-m", "one")
    monkeypatch.setenv("OCRVL_ERNIE_HOME", str(home))
    return home


def test_ernies_tree_must_be_at_its_pinned_commit(subject: MakeSubject, ernie: Path) -> None:
    commit = git(ernie, "rev-parse", "HEAD")
    image = {"name": "train-erniekit", "engine": "erniekit"}
    assert trainers.ernie(subject(**image, ernie_commit=commit)).verdict == "pass"
    # As a build leaves it: a commit is checked out, and no branch.
    git(ernie, "checkout", "--quiet", "--detach")
    assert trainers.ernie(subject(**image, ernie_commit=commit)).verdict == "pass"
    other = trainers.ernie(subject(**image, ernie_commit="f" * 40))
    assert other.verdict == "fail"
    assert commit in other.reason
    git(ernie, "checkout", "--quiet", "main")
    git(ernie, "pack-refs", "--all")
    assert trainers.commit_of(ernie) == commit


def test_a_tree_that_is_not_there_fails_only_where_it_is_wanted(
    subject: MakeSubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCRVL_ERNIE_HOME", str(tmp_path / "nowhere"))
    assert trainers.ernie(subject()).verdict == "skip"
    assert trainers.ernie(subject(named=True)).verdict == "fail"
    (tmp_path / "nowhere").mkdir()
    assert "is not ERNIE's source tree" in trainers.ernie(subject()).reason


def test_a_configuration_is_written_and_read_back(subject: MakeSubject) -> None:
    finding = config(subject(name="train-transformers", engine="transformers"))
    assert (finding.verdict, list(finding.evidence)) == ("pass", ["transformers"])


def test_erniekits_configuration_must_be_that_of_its_stage(
    subject: MakeSubject, ernie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = subject(name="train-erniekit", engine="erniekit")
    without_command = config(image)
    assert (without_command.verdict, "no command erniekit" in without_command.reason) == ("fail", True)
    command = tmp_path / "bin" / "erniekit"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho 'ERNIEKit version: 1.5.0'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    assert config(image).verdict == "pass"
    assert trainers.ernie_cmd(image).evidence["said"] == "ERNIEKit version: 1.5.0"
    (ernie / OFFICIAL_CONFIG).write_text("stage: SFT\n")
    assert "is not for the stage" in config(image).reason
    command.write_text("#!/bin/sh\necho 'No module named decord'\nexit 1\n")
    broken = trainers.ernie_cmd(image)
    assert (broken.verdict, "No module named decord" in broken.reason) == ("fail", True)


@pytest.mark.parametrize("error", [0.003, 0.0199])
def test_an_error_that_rounding_explains_passes(error: float) -> None:
    assert gpu.judge_bf16(error, "torch").verdict == "pass"


@pytest.mark.parametrize("error", [0.02, 0.5, math.inf, math.nan])
def test_an_error_that_it_does_not_explain_fails(error: float) -> None:
    assert gpu.judge_bf16(error, "torch").verdict == "fail"


def test_torch_on_this_cpu_is_as_exact_as_its_number_format() -> None:
    library = tensors.of("torch")
    assert 0.0005 < library.bf16_error("cpu") < 0.01
    assert 0.0005 < library.attention_error("cpu") < 0.02


T4 = "Tesla T4, 15360, 3, 550.54.15, 7.5\n"
L4 = "NVIDIA L4, 23034, 1, 550.54.15, 8.9\n"


def test_the_drivers_answer_is_read_line_by_line() -> None:
    (device,) = gpu.parse_devices(f"some warning\n{L4}")
    assert device.to_dict() == {
        "name": "NVIDIA L4",
        "memory_mib": 23034,
        "used_mib": 1,
        "driver": "550.54.15",
        "compute_capability": "8.9",
    }
    assert gpu.parse_devices("[Not Supported], [N/A], 1, 2, 3\n") == []


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A command nvidia-smi that answers what a test says."""

    def answer(text: str) -> None:
        command = tmp_path / "driver" / "nvidia-smi"
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")

    return answer


def test_a_gpu_that_torch_does_not_see_is_a_failure(subject: MakeSubject, driver: Callable[[str], None]) -> None:
    driver(L4)
    finding = gpu.cuda(subject(name="train-transformers", gpus=("NVIDIA L4",)))
    assert finding.verdict == "fail"
    assert finding.reason.startswith("NVIDIA L4, 22 GiB, driver 550.54.15; torch")
    of_paddle = gpu.cuda(subject(name="train-paddleformers", framework="paddle", gpus=("NVIDIA L4",)))
    assert of_paddle.verdict == "pass", "what Paddle sees is another check's affair"
    driver("")
    assert gpu.cuda(subject(framework="paddle", gpus=("NVIDIA L4",))).verdict == "fail"


def test_a_gpu_without_bf16_fails_where_training_needs_it(subject: MakeSubject, driver: Callable[[str], None]) -> None:
    driver(T4)
    ours = {"engine": "transformers", "gpus": ("Tesla T4",)}
    assert gpu.bf16(subject(**ours)).verdict == "skip"
    assert gpu.bf16(subject(**ours, named=True)).verdict == "fail"
    theirs = gpu.flash_attention(subject(engine="paddleformers", framework="paddle", gpus=("Tesla T4",)))
    assert theirs.verdict == "fail"
    assert "compute capability 7.5" in theirs.reason
    assert "L4" in theirs.hint


@pytest.mark.slow
def test_processes_add_up_their_numbers_with_torch(tmp_path: Path) -> None:
    told = add_up("torch", 2, "cpu", tmp_path)
    assert told.problem == ""
    assert told.gb_per_s


def test_processes_that_cannot_begin_say_why(tmp_path: Path) -> None:
    told = add_up("paddle", 2, "no such device", tmp_path)
    assert "of 2 ended with exit code 1: " in told.problem
    assert told.gb_per_s is None
