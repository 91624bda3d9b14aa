"""What a build would do now: which steps stand as they are, and which are built anew, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocrvl_modal.building.recipe import ImageRecipe
from ocrvl_modal.building.record import BuildRecord, BuiltStep
from ocrvl_modal.building.steps import BASE, Step, steps_of
from ocrvl_modal.pins import ABOUT_A_WHEEL_BYTES

_SHOWN_CHANGES = 3


@dataclass(frozen=True)
class StepOutlook:
    """A step, and why it would be built anew; ``why`` is empty where it is taken from the cache."""

    step: Step
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return the step as it stands in JSON output."""
        step, source = self.step, self.step.wheel_source
        return {
            "name": step.name,
            "reason": step.reason,
            "state": "rebuilt" if self.why else "built",
            "why": self.why,
            "pins": dict(step.pins),
            "brings": dict(step.brings),
            "packages": list(step.packages),
            "variables": dict(step.variables),
            "commands": list(step.commands),
            "download_bytes": step.download_bytes,
            "fetches_more": step.fetches_more,
            "digest": step.digest,
            "wheel": source
            and {
                "from": source.origin,
                "path": source.path,
                "sha256": source.sha256,
                "upload_bytes": source.upload_bytes,
                "download_bytes": ABOUT_A_WHEEL_BYTES if source.origin == "index" else 0,
            },
        }


@dataclass(frozen=True)
class Outlook:
    """All steps of an image's build as it would go now."""

    recipe: ImageRecipe
    builder: str
    steps: tuple[StepOutlook, ...]
    built_at: str

    @property
    def rebuilt(self) -> list[str]:
        """The names of the steps that would be built."""
        return [each.step.name for each in self.steps if each.why]

    def to_dict(self) -> dict[str, Any]:
        """Return the outlook as it stands in JSON output."""
        return {
            "name": self.recipe.name,
            "purpose": self.recipe.purpose,
            "base": self.recipe.base.reference,
            "base_digest_is_known": self.recipe.base.digest is not None,
            "builder": self.builder,
            "built_at": self.built_at or None,
            "layers": [each.to_dict() for each in self.steps],
            "rebuilt": self.rebuilt,
        }


def look_ahead(recipe: ImageRecipe, builder: str, record: BuildRecord | None) -> Outlook:
    """Return what building an image would do, after the build that the record tells of."""
    looked: list[StepOutlook] = []
    known = set(record.known) if record else set()
    before = ""
    for step in steps_of(recipe, builder):
        why = "" if step.digest in known else _why(step, recipe, builder, record, before)
        if why and not before:
            before = step.name
        looked.append(StepOutlook(step, why))
    return Outlook(recipe, builder, tuple(looked), record.built_at if record else "")


def _why(step: Step, recipe: ImageRecipe, builder: str, record: BuildRecord | None, before: str) -> str:
    if record is None:
        return "never built"
    if step.name == BASE:
        if builder != record.builder:
            return f"image builder {record.builder} → {builder}"
        return f"base {record.base} → {recipe.base.reference}"
    then = next((each for each in record.steps if each.name == step.name), None)
    if then is None:
        return "a new layer"
    return _changed(step, then) or (f"after '{before}'" if before else "its commands changed")


def _changed(step: Step, then: BuiltStep) -> str:
    """Return what is different in the step itself; nothing where only what comes before it is."""
    pins = _differences(then.pins, step.pins)
    if pins:
        return pins
    source = step.wheel_source
    if source:
        origin = "index" if source.origin == "index" else "store"
        if origin != then.wheel_origin:
            return f"source of the wheel: {then.wheel_origin} → {origin}"
        if source.sha256 != then.wheel_sha256:
            return f"another wheel: {then.wheel_sha256[:12]} → {source.sha256[:12]}"
    return _differences(then.brings, step.brings)


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    told = [f"{name} {then.get(name, 'none')} → {now.get(name, 'none')}" for name in names[:_SHOWN_CHANGES]]
    more = len(names) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")
