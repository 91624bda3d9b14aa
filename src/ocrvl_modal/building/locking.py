"""Works out, with uv and the public package index, what the pinned packages of each image need in turn.

Run by `make lock-images`. All pins of one Python are resolved together, so that those that clash are told here and not
in a build; then each layer is given what it brings beside the layers before it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ocrvl_modal.building.locks import Locked, plain_name, write_lock
from ocrvl_modal.building.recipe import ImageRecipe, Layer
from ocrvl_modal.pins import PYTHON, UV

_PLATFORM = "x86_64-unknown-linux-gnu"
_STAND_IN = "paddlepaddle"
"""The build for CPUs, which the public index has: it asks for the same, but for the CUDA libraries."""
_TIMEOUT_S = 30


def lock_image(recipe: ImageRecipe, uv: str) -> dict[str, dict[str, Locked]]:
    """Return what each layer of an image brings."""
    found: dict[str, dict[str, Locked]] = {}
    for python in dict.fromkeys(layer.python for layer in recipe.layers):
        layers = [layer for layer in recipe.layers if layer.python == python and _requirements(layer)]
        overrides = _overrides(layers)
        together = _resolve(uv, [line for layer in layers for line in _requirements(layer)], overrides)
        files = _wheels(together, uv, overrides)
        before: set[str] = set()
        for number, layer in enumerate(layers, 1):
            asked = [line for each in layers[:number] for line in _requirements(each)]
            needed = _without_foreign(set(_resolve(uv, asked, overrides, together)), layers[:number], layers)
            names = (needed - before) | {plain_name(name) for name in layer.pins}
            before |= needed
            names.discard(_STAND_IN)
            found[layer.name] = {name: Locked(together[name], files.get(name)) for name in names}
            if layer.index:
                # The file there has another size than the public index's of the same version.
                found[layer.name] |= {plain_name(n): Locked(v, None) for n, v in layer.pins.items()}
    return {layer.name: found[layer.name] for layer in recipe.layers if layer.name in found}


def _requirements(layer: Layer) -> list[str]:
    if layer.kind == "framework" and layer.wheel and layer.with_dependencies:
        return [f"{_STAND_IN}=={layer.wheel.version}"]
    return [f"{name}=={version}" for name, version in layer.pins.items()] if layer.kind == "python" else []


def _overrides(layers: Iterable[Layer]) -> list[str]:
    """Return the pins that hold against what a package asks for that, where it comes from, does not ask for it."""
    lacking = [prefix for layer in layers for prefix in layer.lacks]
    pins = {plain_name(name): version for layer in layers for name, version in layer.pins.items()}
    return [f"{name}=={version}" for name, version in pins.items() if any(name.startswith(each) for each in lacking)]


def _without_foreign(names: set[str], so_far: Iterable[Layer], layers: Iterable[Layer]) -> set[str]:
    """Return the names without those that only the public index's builds ask for."""
    lacking = tuple(prefix for layer in layers for prefix in layer.lacks)
    pins = {plain_name(name) for layer in so_far for name in layer.pins}
    return {name for name in names if name in pins or not lacking or not name.startswith(lacking)}


def _resolve(
    uv: str, requirements: Iterable[str], overrides: Iterable[str], constraints: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return name and version of everything that the requirements come to."""
    lines = _compile(uv, requirements, overrides, constraints or {}, "requirements.txt").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def _compile(
    uv: str, requirements: Iterable[str], overrides: Iterable[str], constraints: Mapping[str, str], form: str
) -> str:
    with tempfile.TemporaryDirectory(prefix="ocrvl-lock-") as folder:
        override, constraint = Path(folder, "override.txt"), Path(folder, "constraint.txt")
        override.write_text("\n".join(overrides), encoding="utf-8")
        constraint.write_text("\n".join(f"{n}=={v}" for n, v in constraints.items()), encoding="utf-8")
        command = [uv, "pip", "compile", "--quiet", "--python-version", PYTHON, "--python-platform", _PLATFORM]
        command += ["--no-annotate", "--no-header", "--format", form, "--override", str(override)]
        command += ["--constraint", str(constraint), "-"]
        asked = "\n".join(dict.fromkeys(requirements))
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"these do not go together:\n{asked}\n\n{done.stderr}")
    return done.stdout


def _wheels(together: Mapping[str, str], uv: str, overrides: Iterable[str]) -> dict[str, int]:
    """Return the bytes of the file that each package comes in, where the index tells them."""
    import toml

    text = _compile(uv, [f"{n}=={v}" for n, v in together.items()], overrides, {}, "pylock.toml")
    urls = {plain_name(each["name"]): _best_file(each) for each in toml.loads(text)["packages"]}
    with ThreadPoolExecutor(8) as pool:
        sizes = dict(zip(urls, pool.map(_length, urls.values()), strict=True))
    return {name: size for name, size in sizes.items() if size}


def _best_file(package: dict[str, object]) -> str:
    """Return the address of the file that Linux on x86-64 takes: a wheel for it, one for all, or the source."""
    from packaging.tags import Tag, compatible_tags, cpython_tags
    from packaging.utils import parse_wheel_filename

    version = tuple(int(part) for part in PYTHON.split("."))
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    order: dict[Tag, int] = {}
    for tag in (*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)):
        order.setdefault(tag, len(order))
    ranked = []
    wheels = package.get("wheels", [])
    assert isinstance(wheels, list)
    for wheel in wheels:
        places = [order[tag] for tag in parse_wheel_filename(wheel["url"].rsplit("/", 1)[1])[3] if tag in order]
        ranked += [(min(places), wheel["url"])] if places else []
    source = package.get("sdist")
    return min(ranked)[1] if ranked else str(source["url"]) if isinstance(source, dict) else ""


def _length(url: str) -> int | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError, ValueError):
        return None


def main() -> None:
    """Lock the images that the command line names, or all; its first word is the uv to use."""
    from ocrvl_modal.image import IMAGES

    uv, *names = sys.argv[1:]
    found = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if found != UV:
        raise SystemExit(f"{uv} is version {found}, and pins.py has {UV}")
    for name in names or IMAGES:
        locked = lock_image(IMAGES[name], uv)
        head = f"Made by `make lock-images` with uv {UV} for Python {PYTHON} on Linux, x86-64; change pins.py instead."
        path = write_lock(name, locked, head)
        print(f"{path.name}: {sum(len(layer) for layer in locked.values())} packages")


if __name__ == "__main__":
    main()
