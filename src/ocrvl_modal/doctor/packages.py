"""Installed packages against what an image pins, and against what they ask of each other."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocrvl_modal.doctor.findings import Finding, failed, passed, skipped
from ocrvl_modal.doctor.subject import Subject, rebuild

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OURS = "ocrvl-modal"

PURPOSES = {
    "local": "training and reading on this machine",
    "paddle": "the PaddleFormers engine on this machine, in an environment of its own",
    "cloud": "datasets in object stores",
}
"""What the extras are for; one that is for developers, or for a single command, is not missed."""

_OF_THE_BASE_IMAGE = "nvidia-"
"""CUDA's libraries, which may come with the base image in place of packages."""
_SHOWN = 3


@dataclass(frozen=True)
class Unmet:
    """A requirement that the environment does not meet: ``by`` asks for ``asked``, and ``installed`` is there."""

    by: str
    asked: str
    name: str
    installed: str | None

    def __str__(self) -> str:
        have = self.installed or "missing"
        return (
            f"{self.by} asks for {self.asked}, which is {have}"
            if not self.installed
            else (f"{self.by} asks for {self.asked}, and {self.name} is {have}")
        )


def deps(subject: Subject) -> Finding:
    """Compare versions with the image's pins, then all requirements of what is used with what is installed."""
    if subject.pins:
        return judge_image(subject.name, subject.pins)
    if installed_version(OURS) is None:
        return skipped("ocrvl is not installed as a package here, so nothing says what it needs", "pip install .")
    extras = whole_extras()
    unmet = list(unmet_requirements({OURS: frozenset(extras)}))
    if unmet:
        named = f"[{','.join(extras)}]" if extras else ""
        return failed(
            _in_short([str(each) for each in unmet]),
            f"pip install --upgrade 'ocrvl-modal{named}'",
            unmet=[str(each) for each in unmet],
        )
    return passed("all packages that ocrvl uses agree with each other", extras=sorted(extras))


def judge_image(image: str, pins: Mapping[str, str]) -> Finding:
    """Return the verdict on the packages of an image with these pins.

    A requirement that a pin overrules is told and no failure: the pins were chosen by what runs.
    """
    strangers = [
        f"{name} is {installed_version(name) or 'missing'}, and {pin} is pinned"
        for name, pin in pins.items()
        if not _is_version(installed_version(name), pin)
    ]
    unmet = list(unmet_requirements(dict.fromkeys(pins, frozenset())))
    overruled = [each for each in unmet if each.name in {_canonical(name) for name in pins} and each.installed]
    broken = [
        *strangers,
        *(str(each) for each in unmet if each not in overruled and not each.name.startswith(_OF_THE_BASE_IMAGE)),
    ]
    evidence = {
        "pinned": {name: installed_version(name) for name in sorted(pins)},
        "overruled_by_pins": [str(each) for each in overruled],
    }
    if broken:
        return failed(_in_short(broken), rebuild(image), **evidence, broken=broken)
    return passed(f"{len(pins)} packages are as pinned, and agree with each other", **evidence)


def packages() -> Finding:
    """Tell what of ocrvl is installed here: its own requirements, and each extra with what it would be for."""
    version = installed_version(OURS)
    if version is None:
        return failed("ocrvl is not installed as a package here", "pip install ocrvl-modal")
    unmet = [each for each in _directly_unmet("") if each.by == OURS]
    extras = {extra: [str(each) for each in _directly_unmet(extra)] for extra in PURPOSES if extra in known_extras()}
    evidence = {
        "ocrvl": version,
        "extras_installed": sorted(whole_extras()),
        "extras_missing": {extra: wants for extra, wants in extras.items() if wants},
    }
    if unmet:
        return failed(_in_short([str(each) for each in unmet]), "pip install --upgrade ocrvl-modal", **evidence)
    here = [f"'{extra}'" for extra, wants in extras.items() if not wants]
    missing = [f"'{extra}' ({PURPOSES[extra]})" for extra, wants in extras.items() if wants]
    told = [
        f"ocrvl {version}",
        f"with {', '.join(here)}" if here else "",
        f"without {', '.join(missing)}" if missing else "",
    ]
    return passed("; ".join(filter(None, told)), **evidence)


def installed_version(name: str) -> str | None:
    """Return the version of a package, or ``None`` where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def known_extras() -> set[str]:
    """Return the names of our extras."""
    return set(importlib.metadata.metadata(OURS).get_all("Provides-Extra") or ())


def whole_extras() -> set[str]:
    """Return those of our extras of which every requirement is installed, in its range."""
    return {extra for extra in known_extras() if not list(_directly_unmet(extra))}


def unmet_requirements(roots: Mapping[str, Collection[str]]) -> Iterator[Unmet]:
    """Yield what ``roots`` (packages, each with the extras that are used) and all that they need do not find.

    What else lies in the environment is nobody's affair here.
    """
    waiting = [(_canonical(name), frozenset(extras)) for name, extras in roots.items()]
    seen: set[tuple[str, frozenset[str]]] = set()
    told: set[Unmet] = set()
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        for requirement in _requirements(*package):
            unmet = _unmet(package[0], requirement)
            if unmet and unmet not in told:
                told.add(unmet)
                yield unmet
            if unmet is None:
                waiting.append((_canonical(requirement.name), frozenset(requirement.extras)))


def _directly_unmet(extra: str) -> Iterator[Unmet]:
    """Yield what our own package asks for and does not find: by itself, or by one extra alone."""
    wanted = _requirements(OURS, frozenset({extra}) if extra else frozenset())
    always = {str(requirement) for requirement in _requirements(OURS, frozenset())}
    for requirement in wanted:
        if not extra or str(requirement) not in always:
            unmet = _unmet(OURS, requirement)
            if unmet:
                yield unmet


def _unmet(by: str, requirement: Requirement) -> Unmet | None:
    installed = installed_version(requirement.name)
    if installed is not None and requirement.specifier.contains(installed, prereleases=True):
        return None
    return Unmet(by, f"{requirement.name}{requirement.specifier}", _canonical(requirement.name), installed)


def _requirements(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return what a package asks for on this machine, with its extras; nothing for one that is not installed."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(line) for line in lines]
    return [
        each
        for each in requirements
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def _is_version(installed: str | None, pinned: str) -> bool:
    """Say whether a version is the pinned one; a build's own suffix, such as ``+cpu``, makes no difference."""
    from packaging.specifiers import SpecifierSet

    return installed is not None and SpecifierSet(f"=={pinned}").contains(installed, prereleases=True)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _in_short(problems: list[str]) -> str:
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
