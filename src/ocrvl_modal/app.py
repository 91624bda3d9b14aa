"""Binds jobs to Modal Functions: from a recipe to a function's options, as plain data, and from those to an app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ocrvl_modal import container
from ocrvl_modal._version import __version__
from ocrvl_modal.building.account import builder_version
from ocrvl_modal.building.on_modal import modal_image
from ocrvl_modal.building.recipe import ImageRecipe
from ocrvl_modal.errors import ExitCode, OcrvlError, usage_error
from ocrvl_modal.gpus import GPUS, parse_gpu
from ocrvl_modal.image import LIGHT, TRAIN_TRANSFORMERS, training_image
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.places import STORE_NAMES
from ocrvl_modal.recipes import TrainRecipe
from ocrvl_modal.volumes import mounts

if TYPE_CHECKING:
    import modal

LONGEST_HOURS = 24
"""Modal ends a call after this long. Its own client does not check, and the server refuses only at the start."""

DEFAULT_TRAINING_GPU = "A100-40GB"
DEFAULT_READING_GPU = "L4"
RUN_TAG = "ocrvl-run"

_HUB_VARIABLES = ("HF_ENDPOINT",)

_MARGIN_S = 900
"""A run saves and stops by itself at its own limit; the call's limit lies this much later."""
_STARTUP_TIMEOUT_S = 1800
_SHORT_TIMEOUT_S = 6 * 3600
_GIB = 1024
_MOST_STORES = ("data", "models", "outputs")
_CORES_PER_GPU = 8.0
_MEMORY_GIB_PER_GPU = 48
_LONGEST_NAME = 64


@dataclass(frozen=True)
class FunctionOptions:
    """How one job runs on Modal.

    ``secrets`` are those of the account, by name; ``local_secrets`` are variables of this machine that travel as one.
    ``variables`` are not secret. ``timeout_s`` is Modal's limit for one attempt; the job's own, ``longest_s``, lies
    before it.
    """

    name: str
    image: ImageRecipe
    stores: tuple[str, ...]
    gpu: str | None
    cpu: float
    memory_mib: int
    timeout_s: int
    longest_s: int | None = None
    startup_timeout_s: int = _STARTUP_TIMEOUT_S
    max_retries: int = 0
    secrets: tuple[str, ...] = ()
    local_secrets: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class ShortJob:
    """What a short job needs of its container.

    ``reads`` says that it reads images with a model, and so gets a GPU; ``fetches`` that it asks the model hub, whose
    address then goes along.
    """

    image: ImageRecipe = LIGHT
    stores: tuple[str, ...] = _MOST_STORES
    cpu: float = 2.0
    memory_gib: int = 4
    reads: bool = False
    fetches: bool = False


_READING = ShortJob(TRAIN_TRANSFORMERS, cpu=4.0, memory_gib=16, reads=True)
_FETCHING = ShortJob(fetches=True)

SHORT_JOBS: Mapping[str, ShortJob] = MappingProxyType(
    {
        "check": ShortJob(),
        "doctor": ShortJob(stores=STORE_NAMES, cpu=4.0, memory_gib=16),
        "download": _FETCHING,
        "download_dataset": _FETCHING,
        "evaluate": _READING,
        "fetch_wheel": ShortJob(stores=("wheels",)),
        "localize_dataset": ShortJob(stores=("data",), fetches=True),
        "verify_dataset": ShortJob(stores=("data",)),
        "verify_model": ShortJob(stores=("models",)),
        "infer": _READING,
    }
)
"""All jobs but training, which has options of its own."""


def training_options(recipe: TrainRecipe, member: FamilyMember) -> FunctionOptions:
    """Return what a training run asks Modal for.

    Raises a usage error for what Modal would refuse, or take and never fulfil.
    """
    hours = recipe.limits.timeout_hours
    if hours is not None and hours > LONGEST_HOURS:
        raise usage_error(
            f"limits.timeout_hours is {hours:g}, and Modal ends a call after {LONGEST_HOURS} hours",
            f"--set limits.timeout_hours={LONGEST_HOURS}, or no limit of time and one of money:"
            " --set limits.timeout_hours=null --set limits.max_cost_usd=20",
        )
    hardware = with_hardware(recipe, member).hardware
    _require_bf16(recipe, hardware.gpu)
    longest_s = LONGEST_HOURS * 3600
    timeout_s = min(longest_s, round(hours * 3600) + _MARGIN_S) if hours else longest_s
    return FunctionOptions(
        name="train",
        image=training_image(recipe.engine),
        stores=_MOST_STORES,
        gpu=hardware.gpu,
        cpu=hardware.cpu or 1.0,
        memory_mib=_GIB * (hardware.memory_gib or 1),
        timeout_s=timeout_s,
        longest_s=timeout_s - _MARGIN_S,
        max_retries=recipe.limits.max_retries,
        secrets=recipe.secrets,
    )


def _require_bf16(recipe: TrainRecipe, gpu: str | None) -> None:
    """Raise where the GPU lacks the number format that training needs: PaddleFormers and ERNIEKit know no other."""
    needs = recipe.engine in {"paddleformers", "erniekit"} or recipe.precision == "bf16"
    if gpu and needs and not parse_gpu(gpu).gpu.bf16:
        able = ", ".join(known.name for known in GPUS.values() if known.bf16)
        raise usage_error(
            f"{gpu} does not compute in bf16, in which {recipe.engine} trains here", f"--gpu one of {able}"
        )


def with_hardware(recipe: TrainRecipe, member: FamilyMember) -> TrainRecipe:
    """Return the recipe with all that is rented filled in; the toy needs no GPU."""
    asked = recipe.hardware
    gpu = asked.gpu or (None if member.name == "tiny" else DEFAULT_TRAINING_GPU)
    count = parse_gpu(gpu).count if gpu else 0
    filled = {
        "gpu": gpu,
        "cpu": asked.cpu or max(2.0, _CORES_PER_GPU * count),
        "memory_gib": asked.memory_gib or max(8, _MEMORY_GIB_PER_GPU * count),
    }
    return recipe.model_copy(update={"hardware": asked.model_copy(update=filled)})


def short_options(
    job: str,
    gpu: str | None,
    environment: Mapping[str, str],
    *,
    image: ImageRecipe | None = None,
    secrets: tuple[str, ...] = (),
    local_secrets: tuple[str, ...] = (),
) -> FunctionOptions:
    """Return what a short job asks Modal for.

    ``image`` stands for the job's own. Of this machine's ``environment`` a job that fetches takes along where the model
    hub is, and any job the ``local_secrets``. Raises an error where one of those is not set.
    """
    for name in local_secrets:
        if not environment.get(name):
            raise OcrvlError(f"{name} is not set on this machine", f"export {name}=…", ExitCode.NOT_PERMITTED)
    needs = SHORT_JOBS[job]
    fetches = needs.fetches
    return FunctionOptions(
        name=job,
        image=image or needs.image,
        stores=needs.stores,
        gpu=str(parse_gpu(gpu)) if gpu else None,
        cpu=needs.cpu,
        memory_mib=needs.memory_gib * _GIB,
        timeout_s=_SHORT_TIMEOUT_S,
        secrets=secrets,
        local_secrets=local_secrets,
        variables={name: environment[name] for name in _HUB_VARIABLES if fetches and environment.get(name)},
    )


def build_app(options: FunctionOptions, *, run: str | None = None) -> tuple[modal.App, modal.Function[Any, Any, Any]]:
    """Return an app with one function, which is bound to the job; ``run`` names and tags the app of a training run.

    The container finds the job by its module and name: nothing of this app exists there.
    """
    import modal

    app = modal.App(f"ocrvl-{run or options.name}"[:_LONGEST_NAME], tags=_tags(run))
    bind = app.function(
        name=options.name,
        image=modal_image(options.image, builder_version()),
        gpu=options.gpu,
        cpu=options.cpu,
        memory=options.memory_mib,
        timeout=options.timeout_s,
        startup_timeout=options.startup_timeout_s,
        retries=modal.Retries(max_retries=options.max_retries, initial_delay=0.0) if options.max_retries else None,
        single_use_containers=True,
        # A call that was sent twice, since its first answer was lost, must not have two containers write one run.
        max_containers=1,
        volumes=mounts(*options.stores),
        secrets=_secrets(options),
        env=dict(options.variables) or None,
    )
    return app, bind(container.train if options.name == "train" else container.call)


def _secrets(options: FunctionOptions) -> list[modal.Secret]:
    import modal

    named = [modal.Secret.from_name(name) for name in options.secrets]
    return [*named, modal.Secret.from_local_environ(list(options.local_secrets))] if options.local_secrets else named


def _tags(run: str | None) -> dict[str, str]:
    return {"ocrvl": __version__, **({RUN_TAG: run} if run else {})}
