"""The plan of images and the outcome of builds, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ocrvl_modal.building.outlook import Outlook, StepOutlook
from ocrvl_modal.building.steps import Step
from ocrvl_modal.report.words import duration, size

if TYPE_CHECKING:
    from rich.table import Table

    from ocrvl_modal.backends.image_builds import Build

_MOST_PINS = 3
_WIDTH = 100
_LONGEST_VERSION = 12


def plan_report(outlooks: Sequence[Outlook], *, verbose: bool) -> Iterable[Any]:
    """Return what ``image plan`` prints: a heading, a table and a sum for each image."""
    for number, outlook in enumerate(outlooks):
        if number:
            yield ""
        recipe = outlook.recipe
        yield f"{recipe.name} — {recipe.purpose}"
        digest = "" if recipe.base.digest else " (no digest known)"
        yield f"from {recipe.base.tag}{digest}, image builder {outlook.builder}"
        yield _table(outlook, verbose=verbose)
        yield _sum(outlook)


def build_report(done: Sequence[Build]) -> list[str]:
    """Return what ``image build`` prints."""
    lines = []
    for each in done:
        layers = f"built {len(each.rebuilt)} layers: {', '.join(each.rebuilt)}" if each.rebuilt else "was built already"
        lines.append(f"{each.image}: {layers} ({duration(each.seconds)})")
    return lines


def _table(outlook: Outlook, *, verbose: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=None if verbose else _WIDTH)
    for header in ("layer", "what", "download", "build"):
        table.add_column(header, overflow="fold", justify="right" if header == "download" else "left")
    for each in outlook.steps:
        what = _everything(each.step) if verbose else _gist(each.step)
        table.add_row(each.step.name, what, _download(each.step), each.why or "built")
    return table


def _gist(step: Step) -> str:
    """Return the main things of a step: a few pins, how many more, and how many follow from them."""
    pins = [f"{name} {_short(version)}" for name, version in step.pins.items()]
    parts = pins[:_MOST_PINS] or list(step.packages[:_MOST_PINS]) or [step.reason]
    more = max(len(pins), len(step.packages)) - _MOST_PINS
    text = ", ".join(parts) + (f", {more} more" if more > 0 else "")
    text += f" (+{len(step.brings)})" if step.brings else ""
    return text + _origin(step)


def _everything(step: Step) -> str:
    lines = [step.reason + _origin(step)]
    lines += ["  ".join(step.packages)] if step.packages else []
    lines += ["  ".join(f"{name}=={version}" for name, version in step.pins.items())] if step.pins else []
    lines += ["and: " + "  ".join(f"{n}=={v}" for n, v in step.brings.items())] if step.brings else []
    lines += [f"{name}={value}" for name, value in step.variables.items()]
    return "\n".join(lines)


def _origin(step: Step) -> str:
    source = step.wheel_source
    if source is None:
        return ""
    return {
        "store": ", from the wheels store",
        "folder": f", from wheels/ here ({size(source.upload_bytes)} go to the store, once)",
        "index": ", from its index",
    }[source.origin]


def _short(version: str) -> str:
    """Return a version; of a commit its beginning."""
    return version if len(version) <= _LONGEST_VERSION else version[:_LONGEST_VERSION]


def _download(step: Step) -> str:
    if step.download_bytes is None:
        return "unknown"
    return (size(step.download_bytes) if step.download_bytes else "") + (" + CUDA" if step.fetches_more else "")


def _sum(outlook: Outlook) -> str:
    if not outlook.rebuilt:
        return f"built {outlook.built_at}: nothing to do"
    waiting: list[StepOutlook] = [each for each in outlook.steps if each.why]
    known = sum(each.step.download_bytes or 0 for each in waiting)
    uncounted = any(each.step.download_bytes is None or each.step.fetches_more for each in waiting)
    sent = sum(each.step.wheel_source.upload_bytes for each in waiting if each.step.wheel_source)
    parts = [f"{len(waiting)} of {len(outlook.steps)} layers to build"]
    parts += [f"Modal downloads {'at least ' if uncounted else ''}{size(known)}"] if known else []
    parts += [f"this machine sends {size(sent)}, once" if sent else "this machine sends nothing"]
    return ", ".join(parts)
