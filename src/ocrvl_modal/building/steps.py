"""From a recipe to the steps of its build: shell commands in order, each step with a digest of all up to it.

A step that has a digest that was built before is taken from the cache; so a change rebuilds its own step and those
after it, and no others.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ocrvl_modal.building.locks import Locked, plain_name, read_lock
from ocrvl_modal.building.proof import proof_command
from ocrvl_modal.building.recipe import ImageRecipe, Layer, WheelSource, nothing
from ocrvl_modal.pins import ABOUT_A_WHEEL_BYTES, FRAMEWORK, UV

BASE, INSTALLER, VARIABLES, PROOF = "base", "installer", "variables", "proof"
"""Steps that every image has beside the layers of its recipe."""

_UV = "uv pip install --no-cache --compile-bytecode"
_PINS_FILE = "/tmp/pins.txt"  # in the container of a build; removed by the command that writes it


@dataclass(frozen=True)
class Step:
    """One step of a build.

    ``pins`` are the versions that we chose, ``brings`` those that follow from them. ``download_bytes`` is ``None``
    where no size is known, and ``fetches_more`` says that it is not all. ``mounts_wheels``: the wheels store is mounted
    while it is built.
    """

    name: str
    reason: str
    commands: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=nothing)
    packages: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=nothing)
    brings: Mapping[str, str] = field(default_factory=nothing)
    download_bytes: int | None = 0
    fetches_more: bool = False
    wheel_source: WheelSource | None = None
    mounts_wheels: bool = False
    digest: str = ""


def steps_of(recipe: ImageRecipe, builder: str) -> list[Step]:
    """Return the steps of an image in order, built by that version of Modal's builder."""
    lock = read_lock(recipe.name)
    proof = _proof(recipe)
    base = Step(BASE, "Debian with Python" if recipe.base.has_python else "NVIDIA's CUDA and cuDNN, and Python")
    steps = [_after("", base, builder, recipe.base.reference)]
    installer = Step(INSTALLER, "uv, which installs the rest", (_install_uv(),), pins={"uv": UV})
    steps.append(_after(steps[-1].digest, installer))
    held: dict[str, dict[str, str]] = {}
    for layer in recipe.layers:
        step, brought = _step(layer, lock.get(layer.name, {}), held.setdefault(layer.python, {}))
        held[layer.python] |= brought
        steps.append(_after(steps[-1].digest, step))
    if recipe.variables:
        named = Step(VARIABLES, "where jobs find what is not on a path", variables=recipe.variables)
        steps.append(_after(steps[-1].digest, named))
    steps.append(_after(steps[-1].digest, Step(PROOF, "fails the build with the names of what is missing", proof)))
    return steps


def _after(before: str, step: Step, *more: str) -> Step:
    """Return the step with its digest: of its own text, and of the digest before it."""
    text = json.dumps([before, list(step.commands), dict(step.variables), step.mounts_wheels, *more])
    return replace(step, digest=hashlib.sha256(text.encode()).hexdigest())


def _install_uv() -> str:
    return f"python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore uv=={UV}"


def _proof(recipe: ImageRecipe) -> tuple[str, ...]:
    commands: tuple[str, ...] = (proof_command("python", recipe.imports, recipe.programs, recipe.pinned()),)
    if recipe.reader:
        commands += (proof_command(recipe.reader, recipe.reader_imports, (), recipe.pinned(recipe.reader)),)
    return commands


def _step(layer: Layer, locked: Mapping[str, Locked], held: Mapping[str, str]) -> tuple[Step, dict[str, str]]:
    """Return a layer's step, without its digest, and the versions that its Python has after it."""
    if layer.kind == "system":
        return Step(layer.name, layer.reason, (_apt(layer.packages),), packages=layer.packages), {}
    if layer.kind == "commands":
        return Step(layer.name, layer.reason, layer.commands, pins=layer.pins, download_bytes=None), {}
    pins = {plain_name(name): version for name, version in layer.pins.items()}
    agrees = all(name in locked and locked[name].version == version for name, version in pins.items())
    brings = {name: entry.version for name, entry in locked.items() if name not in pins} if agrees else {}
    if layer.kind == "framework":
        commands = _framework(layer, brings, held)
    else:
        commands = _python(layer, pins, brings, held, is_locked=agrees and bool(locked))
    step = Step(
        layer.name,
        layer.reason,
        commands,
        pins=layer.pins or ({FRAMEWORK: layer.wheel.version} if layer.wheel else nothing()),
        brings=brings,
        download_bytes=_size(layer, locked if agrees else {}, held),
        # The CUDA libraries, which only the wheel names.
        fetches_more=layer.wheel is not None and layer.with_dependencies,
        wheel_source=layer.wheel_source if layer.wheel else None,
        mounts_wheels=layer.wheel is not None and layer.wheel_source.origin != "index",
    )
    brought = {**brings, **pins, **({FRAMEWORK: layer.wheel.version} if layer.wheel else {})}
    return step, brought


def _apt(packages: tuple[str, ...]) -> str:
    return (
        "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "
        + " ".join(packages)
        + " && rm -rf /var/lib/apt/lists/*"
    )


def _install(arguments: str, *, python: str = "", bounds: Mapping[str, str] | None = None) -> str:
    """Return a command of uv; ``bounds`` are versions that are settled, and hold for all that it resolves."""
    into = f"--python {python}" if python else "--system"
    if not bounds:
        return f"{_UV} {into} {arguments}"
    write = f"printf '%s\\n' {_exactly(bounds)} > {_PINS_FILE}"
    bounded = f"--constraint {_PINS_FILE} --build-constraint {_PINS_FILE}"
    return f"{write} && {_UV} {into} {bounded} {arguments} && rm {_PINS_FILE}"


def _python(
    layer: Layer, pins: Mapping[str, str], brings: Mapping[str, str], held: Mapping[str, str], *, is_locked: bool
) -> tuple[str, ...]:
    """Return what installs a layer's packages: by name all of them where the lock knows them, so that nothing floats.

    What the lock does not know is resolved in the build, and must leave the versions of earlier layers as they are.
    """
    if layer.requirements or layer.source or not is_locked:
        words = [f"--index {layer.index}"] if layer.index else []
        words += [f"--requirements {layer.requirements}"] if layer.requirements else []
        words += [f"--editable {layer.source}"] if layer.source else []
        words += [_exactly(pins)] if pins else []
        return (_install(" ".join(words), python=layer.python, bounds={**held, **pins, **brings}),)
    if layer.index:
        own = (_install(f"--no-deps {_exactly(brings)}", python=layer.python),) if brings else ()
        foreign = f"--no-deps --default-index {layer.index} {_exactly(pins)}"
        return (*own, _install(foreign, python=layer.python))
    return (_install(f"--no-deps {_exactly({**pins, **brings})}", python=layer.python),)


def _framework(layer: Layer, brings: Mapping[str, str], held: Mapping[str, str]) -> tuple[str, ...]:
    """Return what installs the framework's wheel, and before it what it needs of the public index.

    Its CUDA libraries are pinned in its own metadata, which only the wheel tells.
    """
    assert layer.wheel is not None
    before = (_install(f"--no-deps {_exactly(brings)}"),) if brings else ()
    bounds = {**held, **brings} if layer.with_dependencies else None
    alone = "" if layer.with_dependencies else "--no-deps "
    source = layer.wheel_source
    if source.origin == "index":
        # Some of the libraries lie on that index in other versions than the wheel wants.
        index = f"--index {layer.wheel.index_url} --index-strategy unsafe-first-match"
        return (*before, _install(f"{alone}{index} {FRAMEWORK}=={layer.wheel.version}", bounds=bounds))
    path = shlex.quote(source.path)
    check = f"echo {shlex.quote(f'{source.sha256}  {source.path}')} | sha256sum --check --strict -"
    return (*before, f"{check} && {_install(f'{alone}--link-mode copy {path}', bounds=bounds)}")


def _exactly(versions: Mapping[str, str]) -> str:
    return " ".join(f"{name}=={versions[name]}" for name in sorted(versions))


def _size(layer: Layer, locked: Mapping[str, Locked], held: Mapping[str, str]) -> int | None:
    """Return what a layer downloads of the packages that are not held already; ``None`` where it is not known."""
    sizes = [entry.size_bytes for name, entry in locked.items() if held.get(name) != entry.version]
    if layer.wheel:
        # Wheels of one framework hardly differ in size.
        origin = layer.wheel_source.download_bytes
        sizes.append(ABOUT_A_WHEEL_BYTES if origin is None else origin)
    if not (locked or layer.wheel) or any(size is None for size in sizes):
        return None
    return sum(size for size in sizes if size is not None)
