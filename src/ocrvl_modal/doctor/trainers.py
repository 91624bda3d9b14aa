"""Whether the engines are there: their libraries, their commands, and ERNIE's source tree."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ocrvl_modal.doctor.findings import Finding, failed, passed
from ocrvl_modal.doctor.packages import installed_version
from ocrvl_modal.doctor.registry import not_installed
from ocrvl_modal.doctor.subject import Subject, rebuild
from ocrvl_modal.engines.erniekit import workspace
from ocrvl_modal.engines.erniekit.keys import OFFICIAL_CONFIG
from ocrvl_modal.engines.libraries import make_transformers_importable
from ocrvl_modal.engines.paddleformers.engine import TRAIN, import_paths

_COMMAND_S = 240
_LAST_CHARACTERS = 2000


def paddleformers_import(subject: Subject) -> Finding:  # noqa: ARG001 - the same everywhere
    """Import what trains: PaddleFormers' trainer, its workflow, and the model."""
    sys.path[:0] = import_paths()
    for module in (
        "paddleformers",
        "paddleformers.cli.train.tuner",
        "paddleformers.transformers.paddleocr_vl.modeling",
    ):
        importlib.import_module(module)
    return _imported("PaddleFormers", "paddleformers", "paddle", "transformers", "numpy", "pyarrow", "triton")


def paddleformers_cmd(subject: Subject) -> Finding:  # noqa: ARG001 - the same everywhere
    """Start the very command that trains, for its help."""
    paths = os.pathsep.join(filter(None, [*import_paths(), os.environ.get("PYTHONPATH", "")]))
    code, printed = _run([sys.executable, *TRAIN, "--help"], {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""})
    options = sum(line.lstrip().startswith("--") for line in printed.splitlines())
    if code or "--model_name_or_path" not in printed:
        return _command_failed("paddleformers.cli.launcher train", code, printed, "paddleformers")
    return passed(f"the trainer's command starts ({options} options)", command=" ".join(TRAIN), options=options)


def transformers_import(subject: Subject) -> Finding:  # noqa: ARG001 - the same everywhere
    """Import what our own trainer and all reading need."""
    make_transformers_importable()
    import torch
    from transformers import PaddleOCRVLForConditionalGeneration

    importlib.import_module("peft")
    importlib.import_module("tokenizers")
    model = PaddleOCRVLForConditionalGeneration.__name__
    found = _imported("torch", "torch", "transformers", "peft", "tokenizers", "safetensors")
    return found.model_copy(
        update={"evidence": {**found.evidence, "model": model, "torch_built_for_cuda": torch.version.cuda}}
    )


def ernie(subject: Subject) -> Finding:
    """Find ERNIE's source tree, and compare its commit with the pinned one."""
    home = workspace.ernie_home()
    if not home.is_dir():
        if subject.expects("erniekit"):
            return failed(f"there is no {home}", workspace.HOME_VARIABLE + "=FOLDER names a tree of your own")
        return not_installed("erniekit")
    if not (home / OFFICIAL_CONFIG).is_file():
        return failed(f"{home} is not ERNIE's source tree: {OFFICIAL_CONFIG} is missing", f"ls {home}")
    commit = commit_of(home)
    evidence = {"home": str(home), "commit": commit, "pinned": subject.ernie_commit}
    if subject.ernie_commit and commit != subject.ernie_commit:
        return failed(
            f"{home} is at commit {commit or 'unknown (it has no .git)'}, and {subject.ernie_commit} is pinned",
            rebuild(subject.name) if subject.is_image else f"git -C {home} checkout {subject.ernie_commit}",
            **evidence,
        )
    return passed(f"{home} is at commit {(commit or 'unknown')[:12]}", **evidence)


def commit_of(tree: Path) -> str | None:
    """Return the commit that a git checkout is at, without git; ``None`` where the folder does not tell."""
    git = tree / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), None)


def ernie_import(subject: Subject) -> Finding:
    """Import ERNIEKit with what is around it; the training workflow too where a GPU lets it."""
    modules = ["erniekit", "paddle.distributed.flex_checkpoint", "paddleformers"]
    if subject.gpus:
        modules.append("erniekit.train.ocr_vl_sft.workflow")
    for module in modules:
        importlib.import_module(module)
    found = _imported(
        "ERNIEKit", "erniekit", "paddlepaddle-gpu", "paddleformers", "transformers", "numpy", "opt_einsum"
    )
    return found.model_copy(update={"evidence": {**found.evidence, "modules": modules}})


def ernie_cmd(subject: Subject) -> Finding:
    """Start the command, for its version."""
    if shutil.which("erniekit") is None:
        return failed("there is no command erniekit on the PATH", rebuild(subject.name))
    code, printed = _run(["erniekit", "version"], {"PYTHONUTF8": "1", "NO_COLOR": "1"})
    if code:
        return _command_failed("erniekit version", code, printed, "erniekit")
    lines = [line.strip(" |-") for line in printed.splitlines() if "version" in line.lower()]
    return passed("the command erniekit starts", said=lines[-1] if lines else "")


def vllm_import(subject: Subject) -> Finding:
    """Import vLLM, and look for the model among those that it serves."""
    vllm: Any = importlib.import_module("vllm")
    served = set(vllm.ModelRegistry.get_supported_archs())
    architecture = "PaddleOCRVLForConditionalGeneration"
    found = _imported("vLLM", "vllm", "torch", "transformers")
    if architecture in served:
        return found
    return failed(
        f"vLLM {vllm.__version__} does not know {architecture}",
        rebuild(subject.name),
        **found.evidence,
    )


def _imported(title: str, *packages: str) -> Finding:
    versions = {name: version for name in packages if (version := installed_version(name))}
    main = versions.get(packages[0], "")
    others = ", ".join(f"{name} {version}" for name, version in list(versions.items())[1:3])
    return passed(f"{title} {main} imports" + (f", with {others}" if others else ""), **versions)


def _run(command: list[str], variables: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end; return its exit code and all that it printed, which is printed here too."""
    done = subprocess.run(
        command,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_COMMAND_S,
        check=False,
    )
    if done.returncode:
        print(done.stdout[-_LAST_CHARACTERS:], flush=True)
    return done.returncode, done.stdout


def _command_failed(command: str, code: int, printed: str, package: str) -> Finding:
    lines = [line for line in printed.splitlines() if line.strip()]
    return failed(
        f"`{command}` ended with exit code {code}: {lines[-1].strip() if lines else 'it printed nothing'}",
        f"pip install --force-reinstall --no-deps {package}=={installed_version(package) or 'VERSION'}",
    )
