"""Which build of the framework a file name is of."""

from __future__ import annotations

import re

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ocrvl_modal.errors import usage_error
from ocrvl_modal.pins import FRAMEWORK, FrameworkWheel

_PLATFORM = re.compile(r"(?:many|musl)?linux(?:_\d+_\d+|\d+)?_(.+)")


def wanted_wheel(default: FrameworkWheel, version: str | None, cuda: str | None, python: str | None) -> FrameworkWheel:
    """Return ``default`` with what was asked for in its place; a usage error for what names no build."""
    try:
        version = str(Version(version)) if version else default.version
    except InvalidVersion as error:
        raise usage_error(f"'{version}' is no version", f"write it as {default.version}") from error
    cuda = cuda or default.cuda
    if not re.fullmatch(r"cu\d{2,3}", cuda):
        raise usage_error(f"'{cuda}' names no CUDA", f"write it as {default.cuda}")
    matched = re.fullmatch(r"(?:cp)?(\d)\.?(\d{1,2})", python or default.python)
    if not matched:
        raise usage_error(f"'{python}' names no Python", f"write it as {default.python}")
    return FrameworkWheel(version, cuda, f"cp{matched[1]}{matched[2]}", default.platform)


def version_of(file_name: str, project: str = FRAMEWORK) -> str | None:
    """Return the version that a file is of; ``None`` where it is no wheel of the project."""
    try:
        name, version, _, _ = parse_wheel_filename(file_name)
    except InvalidWheelFilename:
        return None
    return str(version) if name == canonicalize_name(project) else None


def pythons_of(file_name: str, platform: str) -> list[str]:
    """Return the Pythons, as ``cp312``, that a wheel is for on a platform."""
    tags = parse_wheel_filename(file_name)[3]
    return sorted({tag.interpreter for tag in tags if _machine(tag.platform) == _machine(platform)})


def is_build_of(file_name: str, wanted: FrameworkWheel) -> bool:
    """Say whether a file is the wanted build, as far as its name tells: CUDA is not in it."""
    version = version_of(file_name)
    return version == str(Version(wanted.version)) and wanted.python in pythons_of(file_name, wanted.platform)


def _machine(platform: str) -> str:
    """Return ``linux x86_64`` for all ways to write it, whatever the oldest C library."""
    matched = _PLATFORM.fullmatch(platform)
    return f"linux {matched[1]}" if matched else platform
