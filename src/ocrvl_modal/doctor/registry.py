"""The checks by name, where each belongs, and what must be there before one can find anything out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ocrvl_modal.doctor.findings import Finding, failed, skipped
from ocrvl_modal.doctor.subject import MACHINE, Subject, rebuild
from ocrvl_modal.engines import LIBRARIES
from ocrvl_modal.engines.libraries import is_installed
from ocrvl_modal.errors import did_you_mean, usage_error

_HERE = "ocrvl_modal.doctor"
_IMPORT_S = 300.0
"""The first import in a new container reads gigabytes over a network."""


@dataclass(frozen=True)
class Check:
    """One check.

    ``run`` is its function, as ``module:function``; ``proves`` is for the reader. ``engine`` is whose installation it
    looks at, and ``needs`` are the modules without which it cannot begin; ``framework`` says that it needs the one that
    the subject computes with. ``gpus`` is how many GPUs it takes: such checks run one after another. A check that takes
    longer than ``timeout_s`` or more memory than ``memory_gib`` is ended.
    """

    name: str
    run: str
    proves: str
    timeout_s: float = 60.0
    memory_gib: float = 8.0
    engine: str | None = None
    needs: tuple[str, ...] = ()
    framework: bool = False
    gpus: int = 0


_ALL = (
    Check("python", f"{_HERE}.system:python", "Python is of a version that ocrvl, and the image, were made for"),
    Check("deps", f"{_HERE}.packages:deps", "packages have the pinned versions and agree with each other"),
    Check("paddle", f"{_HERE}.frameworks:paddle", "Paddle imports and computes", _IMPORT_S, needs=("paddle",)),
    Check(
        "paddleformers-import",
        f"{_HERE}.trainers:paddleformers_import",
        "PaddleFormers imports, its trainer and its PaddleOCR-VL included",
        _IMPORT_S,
        engine="paddleformers",
        needs=LIBRARIES["paddleformers"],
    ),
    Check(
        "paddleformers-cmd",
        f"{_HERE}.trainers:paddleformers_cmd",
        "the command that trains starts and knows its options",
        _IMPORT_S,
        engine="paddleformers",
        needs=LIBRARIES["paddleformers"],
    ),
    Check(
        "transformers-import",
        f"{_HERE}.trainers:transformers_import",
        "torch, transformers and PEFT import, PaddleOCR-VL included",
        _IMPORT_S,
        engine="transformers",
        needs=LIBRARIES["transformers"],
    ),
    Check("ernie", f"{_HERE}.trainers:ernie", "ERNIE's source tree is there, at its pinned commit", engine="erniekit"),
    Check(
        "ernie-import",
        f"{_HERE}.trainers:ernie_import",
        "ERNIEKit imports with the framework and the libraries around it",
        _IMPORT_S,
        engine="erniekit",
        needs=("paddle", "erniekit"),
    ),
    Check(
        "ernie-cmd",
        f"{_HERE}.trainers:ernie_cmd",
        "the command erniekit starts",
        _IMPORT_S,
        engine="erniekit",
        needs=("erniekit",),
    ),
    Check(
        "vllm-import",
        f"{_HERE}.trainers:vllm_import",
        "vLLM imports and knows PaddleOCR-VL",
        _IMPORT_S,
        memory_gib=12.0,
        engine="vllm",
        needs=("vllm",),
    ),
    Check(
        "config",
        f"{_HERE}.configuration:config",
        "a recipe becomes a configuration that the engine itself reads without complaint",
        _IMPORT_S,
    ),
    Check(
        "prompt",
        f"{_HERE}.stored_models:prompt",
        "training asks each model in the store as its own template does",
        needs=("tokenizers", "jinja2"),
    ),
    Check("model-files", f"{_HERE}.stored_models:model_files", "each model in the store is whole", 120.0),
    Check("shm", f"{_HERE}.system:shm", "shared memory holds what the processes that prepare images put there"),
    Check("disk-speed", f"{_HERE}.system:disk_speed", "the scratch disk writes and reads fast enough", 120.0),
    Check("cuda", f"{_HERE}.gpu:cuda", "the driver shows the GPU, and torch sees it", 120.0, gpus=1),
    Check("paddle-gpu", f"{_HERE}.gpu:paddle_gpu", "Paddle computes on the GPU", _IMPORT_S, needs=("paddle",), gpus=1),
    Check(
        "bf16", f"{_HERE}.gpu:bf16", "the GPU multiplies in bf16, near to float32", _IMPORT_S, framework=True, gpus=1
    ),
    Check(
        "flash-attention",
        f"{_HERE}.gpu:flash_attention",
        "the attention kernel that training uses runs, near to plain attention",
        _IMPORT_S,
        framework=True,
        gpus=1,
    ),
    Check("nccl", f"{_HERE}.gpu:nccl", "GPUs add up numbers among each other", _IMPORT_S, framework=True, gpus=2),
)

CHECKS: Mapping[str, Check] = MappingProxyType({check.name: check for check in _ALL})


@dataclass(frozen=True)
class Environment:
    """Which checks make sense where, in the order in which they are told; and the three essential ones."""

    checks: tuple[str, ...]
    essential: tuple[str, str, str]
    engine: str | None = None
    framework: str = "torch"


_FILES = ("disk-speed", "model-files", "prompt")
_PADDLE = ("python", "deps", "paddle")
_ON_GPUS = ("cuda", "paddle-gpu", "bf16", "flash-attention", "nccl")

ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType(
    {
        "light": Environment(("python", "deps", *_FILES), ("python", "deps", "prompt")),
        "train-transformers": Environment(
            ("python", "deps", "transformers-import", "config", "cuda", "bf16", "nccl", "shm", *_FILES),
            ("python", "transformers-import", "cuda"),
            engine="transformers",
        ),
        "train-paddleformers": Environment(
            (*_PADDLE, "paddleformers-import", "paddleformers-cmd", "config", *_ON_GPUS, "shm", *_FILES),
            ("python", "paddleformers-import", "paddle-gpu"),
            engine="paddleformers",
            framework="paddle",
        ),
        "train-erniekit": Environment(
            (*_PADDLE, "ernie", "ernie-import", "ernie-cmd", "config", *_ON_GPUS, "shm", *_FILES),
            ("python", "ernie-import", "paddle-gpu"),
            engine="erniekit",
            framework="paddle",
        ),
        "serve-vllm": Environment(
            ("python", "deps", "vllm-import", "cuda", "bf16", "flash-attention", "shm", *_FILES),
            ("python", "vllm-import", "cuda"),
            engine="vllm",
        ),
        MACHINE: Environment(tuple(CHECKS), ("python", "transformers-import", "cuda")),
    }
)

_INSTALL = {
    "transformers": "pip install 'ocrvl-modal[local]'",
    "paddleformers": "pip install 'ocrvl-modal[paddle]', in an environment of its own",
    "erniekit": "it trains on Modal: ocrvl doctor --image train-erniekit",
    "vllm": "it serves on Modal: ocrvl doctor --image serve-vllm",
}
_TITLES = {
    "transformers": "torch and transformers are",
    "paddleformers": "PaddleFormers is",
    "erniekit": "ERNIEKit is",
    "vllm": "vLLM is",
}
_LIBRARY_ENGINE = {
    "paddle": "paddleformers",
    "torch": "transformers",
    "tokenizers": "transformers",
    "jinja2": "transformers",
}


def select(names: Iterable[str], environment: Environment, *, quick: bool = False) -> tuple[str, ...]:
    """Return the checks to run: those that are named, the three essential ones, or all that make sense there."""
    named = tuple(dict.fromkeys(names))
    for name in named:
        get_check(name)
    return named or (environment.essential if quick else environment.checks)


def get_check(name: str) -> Check:
    """Return the check called ``name``; raise a usage error, with the nearest known name, for another word."""
    if name not in CHECKS:
        raise usage_error(f"there is no check named '{name}'", did_you_mean(name, CHECKS))
    return CHECKS[name]


def why_not(check: Check, subject: Subject) -> Finding | None:
    """Return why a check cannot begin here, or ``None`` where it can."""
    return _without_gpus(check, subject) or _without_libraries(check, subject)


def not_installed(engine: str) -> Finding:
    """Return what to say of an engine that is not here, where nobody wants it."""
    return skipped(f"{_TITLES[engine]} not installed here", _INSTALL[engine])


def mend(check: Check, subject: Subject) -> str:
    """Return what mends most often what a check finds broken."""
    if subject.is_image:
        return rebuild(subject.name)
    engine = _engine_of(check, subject)
    return _INSTALL[engine] if engine else f"ocrvl doctor {check.name} tries again; if it stays, report these lines"


def _without_gpus(check: Check, subject: Subject) -> Finding | None:
    seen = len(subject.gpus)
    if seen >= check.gpus:
        return None
    if not seen and subject.rented_gpu:
        return failed(
            f"{subject.rented_gpu} was rented, and this container shows no GPU",
            "try again; if it stays, report it to Modal with `modal app list`",
        )
    if seen:
        return skipped(
            f"it takes {check.gpus} GPUs, and there is one", f"ocrvl doctor {check.name} --gpu L4:{check.gpus}"
        )
    if subject.is_image:
        how_many = f":{check.gpus}" if check.gpus > 1 else ""
        return skipped(
            "no GPU in this container", f"--gpu L4{how_many} rents {'one' if check.gpus == 1 else check.gpus}"
        )
    return skipped("this machine has no NVIDIA GPU", "ocrvl doctor --gpu L4 examines one on Modal")


def _without_libraries(check: Check, subject: Subject) -> Finding | None:
    needed = (*check.needs, *((subject.framework,) if check.framework else ()))
    missing = [name for name in needed if not is_installed(name)]
    if not missing:
        return None
    reason = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
    engine = _engine_of(check, subject)
    if subject.is_image:
        return failed(f"{reason} in this image", _where_it_is(check, subject) or mend(check, subject))
    if engine is None:
        return failed(reason, f"pip install {' '.join(missing)}")
    # What just needs a library has no more to say than the check of the engine that brings it.
    if subject.named or (check.engine and subject.expects(engine)):
        return failed(reason, _INSTALL[engine])
    return not_installed(engine)


def _where_it_is(check: Check, subject: Subject) -> str:
    """Return, for a check in an image that is not made for it, the image that is."""
    fitting = [name for name, there in ENVIRONMENTS.items() if check.name in there.checks and name != MACHINE]
    return "" if subject.name in fitting or not fitting else f"--image {fitting[0]} is made for it"


def _engine_of(check: Check, subject: Subject) -> str | None:
    if check.engine:
        return check.engine
    libraries = (*check.needs, *((subject.framework,) if check.framework else ()))
    return next((_LIBRARY_ENGINE[name] for name in libraries if name in _LIBRARY_ENGINE), None)
