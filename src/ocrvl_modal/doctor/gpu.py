"""Checks of what only a GPU can show: that it is there, that frameworks compute on it, and how exactly."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from ocrvl_modal.doctor import tensors
from ocrvl_modal.doctor.collective import add_up
from ocrvl_modal.doctor.findings import Finding, failed, passed, skipped
from ocrvl_modal.doctor.frameworks import product_difference
from ocrvl_modal.doctor.subject import Subject, rebuild
from ocrvl_modal.engines.libraries import is_installed
from ocrvl_modal.gpus import GPUS

_QUERY = ("name", "memory.total", "memory.used", "driver_version", "compute_cap")
_QUERY_S = 60
_BF16_CAPABILITY = (8, 0)
_MOST_BF16_ERROR = 0.02
"""A product of large matrices in bf16 is off by some 0.3 % of its size; a broken kernel is off by far more."""
_MOST_PRODUCT_ERROR = 5e-3
"""TF32, in which a GPU may multiply float32, keeps 10 bits."""


@dataclass(frozen=True)
class Device:
    """A GPU as its driver describes it."""

    name: str
    memory_mib: int
    used_mib: int
    driver: str
    capability: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the device as evidence."""
        return {
            "name": self.name,
            "memory_mib": self.memory_mib,
            "used_mib": self.used_mib,
            "driver": self.driver,
            "compute_capability": ".".join(map(str, self.capability)),
        }


def cuda(subject: Subject) -> Finding:
    """Ask the driver for its GPUs, and torch, where it is what computes here, whether it sees them too."""
    devices = driver_devices()
    evidence: dict[str, Any] = {"devices": [device.to_dict() for device in devices]}
    if not devices:
        return failed("the driver lists GPUs, and tells nothing of them", "nvidia-smi -q", **evidence)
    told = f"{len(devices)} x {devices[0].name}" if len(devices) > 1 else devices[0].name
    told += f", {devices[0].memory_mib / 1024:.0f} GiB, driver {devices[0].driver}"
    if subject.framework != "torch" or not is_installed("torch"):
        return passed(told, **evidence)
    import torch

    evidence |= {"torch": torch.__version__, "torch_built_for_cuda": torch.version.cuda}
    if torch.cuda.is_available() and torch.cuda.device_count() >= len(subject.gpus):
        return passed(f"{told}; torch {torch.__version__} sees it", **evidence)
    if torch.version.cuda is None:
        why = f"torch {torch.__version__} is built for CPUs"
        return failed(f"{told}; {why}", "pip install --force-reinstall torch from the index of its CUDA", **evidence)
    return failed(
        f"{told}; torch {torch.__version__} (for CUDA {torch.version.cuda}) sees {torch.cuda.device_count()}",
        f"a driver for CUDA {torch.version.cuda} or newer; or a torch for an older CUDA",
        **evidence,
    )


def paddle_gpu(subject: Subject) -> Finding:
    """Compare a product of matrices on the GPU with numpy's."""
    import paddle

    if not paddle.is_compiled_with_cuda():
        say = failed if subject.is_image or subject.named else skipped
        return say(
            f"Paddle {paddle.__version__} is built for CPUs",
            "ocrvl wheel fetch gets a build for CUDA",
            version=paddle.__version__,
        )
    paddle.set_device("gpu:0")
    device = paddle.device.cuda.get_device_properties(0)
    difference = product_difference(paddle)
    evidence = {
        "version": paddle.__version__,
        "built_for_cuda": paddle.version.cuda(),
        "built_for_cudnn": paddle.version.cudnn(),
        "device": device.name,
        "memory_mib": device.total_memory >> 20,
        "difference": difference,
    }
    if difference > _MOST_PRODUCT_ERROR:
        return failed(
            f"Paddle {paddle.__version__} multiplies wrongly on {device.name}: off by {difference:.1g}",
            f"--gpu of another kind, to see whether it is the card; else {rebuild(subject.name)}",
            **evidence,
        )
    return passed(
        f"Paddle {paddle.__version__} (CUDA {evidence['built_for_cuda']}) computes on {device.name}", **evidence
    )


def bf16(subject: Subject) -> Finding:
    """Multiply matrices in bf16 and in float32, and compare."""
    if finding := _without_bf16(subject, driver_devices()):
        return finding
    began = time.monotonic()
    error = tensors.of(subject.framework).bf16_error("gpu")
    return judge_bf16(error, subject.framework, seconds=round(time.monotonic() - began, 2))


def judge_bf16(error: float, framework: str, **evidence: Any) -> Finding:
    """Return the verdict on the relative error of a product in bf16."""
    evidence |= {"relative_error": error, "framework": framework}
    if not error < _MOST_BF16_ERROR:
        return failed(
            f"bf16 is off by {error:.2%} of float32, and {_MOST_BF16_ERROR:.0%} is the most that rounding explains",
            "--gpu of another kind, or --set precision=float32 --engine transformers",
            **evidence,
        )
    return passed(f"bf16 is off by {error:.2%} of float32, as rounding explains", **evidence)


def flash_attention(subject: Subject) -> Finding:
    """Run the attention kernel that training uses, and compare it with plain attention in float32."""
    if finding := _without_bf16(subject, driver_devices()):
        return finding
    library = tensors.of(subject.framework)
    error = library.attention_error("gpu")
    evidence = {"relative_error": error, "framework": subject.framework, "kernel": library.kernel}
    if not error < _MOST_BF16_ERROR:
        return failed(
            f"{library.kernel} is off by {error:.2%} of plain attention, and {_MOST_BF16_ERROR:.0%} is the most that"
            " rounding explains",
            "--gpu of another kind: A100-40GB and H100 are what the maintainers train on",
            **evidence,
        )
    return passed(f"{library.kernel} runs, off by {error:.2%} of plain attention", **evidence)


def nccl(subject: Subject) -> Finding:
    """Add up a vector over all GPUs, in a process for each."""
    count = len(subject.gpus)
    told = add_up(subject.framework, count, "gpu", subject.scratch)
    if told.problem:
        return failed(
            told.problem, "NCCL_DEBUG=INFO says more; one GPU needs no NCCL: --gpu without a count", gpus=count
        )
    speed = f", {told.gb_per_s:.1f} GB/s" if told.gb_per_s else ""
    return passed(f"{count} GPUs add up numbers{speed}", gpus=count, gb_per_s=told.gb_per_s)


def driver_devices() -> list[Device]:
    """Return the machine's GPUs as ``nvidia-smi`` tells of them."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
    return parse_devices(done.stdout)


def parse_devices(printed: str) -> list[Device]:
    """Return the devices in the answer to our query; lines of another form are left out."""
    devices = []
    for line in printed.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == len(_QUERY) and fields[1].isdigit():
            major, _, minor = fields[4].partition(".")
            capability = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
            used = int(fields[2]) if fields[2].isdigit() else 0
            devices.append(Device(fields[0], int(fields[1]), used, fields[3], capability))
    return devices


def _without_bf16(subject: Subject, devices: list[Device]) -> Finding | None:
    """Return what to say of a GPU that does not compute in bf16; our own engine trains in float32 there."""
    old = [device for device in devices if (0, 0) < device.capability < _BF16_CAPABILITY]
    if not old:
        return None
    able = ", ".join(gpu.name for gpu in GPUS.values() if gpu.bf16)
    reason = f"{old[0].name} does not compute in bf16 (compute capability {'.'.join(map(str, old[0].capability))})"
    if subject.engine == "transformers" and not subject.named:
        return skipped(f"{reason}; the transformers engine trains in float32 there", f"--gpu one of {able}")
    return failed(reason, f"--gpu one of {able}")
