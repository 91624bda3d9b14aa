"""From a page of the source to samples: one of all of it, or one a region."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from ocrvl_modal.data.converting.crops import crop, opened, scaled
from ocrvl_modal.data.converting.items import Dropped, Page, Picture, Region, Unusable
from ocrvl_modal.data.converting.targets import spotting_target, target_of
from ocrvl_modal.data.schema import RESERVED
from ocrvl_modal.models import DEFAULT_MODEL, FAMILY

if TYPE_CHECKING:
    from PIL.Image import Image

Unit = Literal["line", "page"]
UNITS: tuple[Unit, ...] = ("line", "page")

TASKS = tuple(FAMILY[DEFAULT_MODEL].prompts)
"""The tasks of the family; each has a prompt of its own, which is the same for all members that know it."""


@dataclass(frozen=True)
class NewSample:
    """A sample before its image has a place in the dataset."""

    origin: str
    picture: Picture
    task: str
    prompt: str
    target: str


@dataclass(frozen=True)
class Wish:
    """What the user wants of each page.

    ``task`` is ``None`` where each text tells by its form, ``prompt`` where the task's own is meant. ``unit`` says
    whether labelled regions become samples one by one, or together as one page.
    """

    task: str | None = None
    prompt: str | None = None
    unit: Unit = "line"

    def task_for(self, page: Page) -> str:
        """Return the task of a page: what was asked for, else a table for HTML, and text for all else."""
        return self.task or ("table" if page.markup == "html" else "text")

    def prompt_for(self, task: str) -> str:
        """Return the prompt of a task."""
        return self.prompt or FAMILY[DEFAULT_MODEL].prompts[task]


def samples_of(page: Page, wish: Wish) -> list[NewSample | Dropped]:
    """Return the samples of a page, and what of it gave none."""
    try:
        return list(_samples_of(page, wish))
    except Unusable as unusable:
        return [unusable.at(page.origin)]


def _samples_of(page: Page, wish: Wish) -> Iterator[NewSample | Dropped]:
    task = wish.task_for(page)
    if page.text is not None:
        if task == "spotting" and "<|LOC_" not in page.text:
            raise Unusable("no_region", "the text has no places, and spotting needs the corners of each line")
        yield _sample(page.origin, page.picture, task, target_of(page.text, task, page.markup), wish)
    elif task == "spotting" or wish.unit == "page":
        yield from _whole_page(page, task, wish)
    else:
        yield from _lines(page, task, wish)


def _sample(origin: str, picture: Picture, task: str, target: str, wish: Wish) -> NewSample:
    for word in RESERVED:
        if word in target:
            raise Unusable("reserved_text", f"the text has {word}, which is a mark of the model's own")
    if any("\ud800" <= letter <= "\udfff" for letter in target):
        raise Unusable("surrogate", "the text has half of a pair of surrogates, which is no character")
    return NewSample(origin, picture, task, wish.prompt_for(task), target)


def _whole_page(page: Page, task: str, wish: Wish) -> Iterator[NewSample | Dropped]:
    """Yield a page with all its lines; one with a line that cannot be used is refused, since its target would lack it.

    Lines that the annotators chose to ignore are not asked for, nor are those without a text.
    """
    if page.broken:
        broken = page.broken[0]
        raise Unusable(broken.reason, f"{broken.origin}: {broken.detail}")
    lines = [region for region in page.regions if not region.ignored and region.text.strip()]
    if not lines:
        raise Unusable("no_region", "the page has no line with a text")
    yield _page_of(page, lines, task, wish)
    for number, region in enumerate(page.regions, start=1):
        if region.ignored or not region.text.strip():
            yield _left_out(region).at(f"{page.origin}, region {number}")


def _left_out(region: Region) -> Unusable:
    if region.ignored:
        return Unusable("ignored", "the annotators marked it as one to ignore")
    return Unusable("empty_text", "the text is empty")


def _page_of(page: Page, lines: list[Region], task: str, wish: Wish) -> NewSample:
    if task != "spotting":
        text = "\n".join(region.text.strip() for region in lines)
        return _sample(page.origin, page.picture, task, target_of(text, task, page.markup), wish)
    with opened(page) as (image, turned):
        placed = [(region.text, scaled(region.points, page.frame, image.size)) for region in lines]
        target = spotting_target(placed, *image.size)
        # A page that is stored turned would be read turned.
        picture = Picture(page.picture.name, content=_png(image)) if turned else page.picture
    return _sample(page.origin, picture, task, target, wish)


def _lines(page: Page, task: str, wish: Wish) -> Iterator[NewSample | Dropped]:
    yield from page.broken
    if not page.regions:
        if not page.broken:
            raise Unusable("no_region", "the page has no line")
        return
    with opened(page) as (image, _):
        for number, region in enumerate(page.regions, start=1):
            origin = f"{page.origin}, region {number}"
            try:
                yield _line(origin, image, page, region, task, wish)
            except Unusable as unusable:
                yield unusable.at(origin)


def _line(origin: str, image: Image, page: Page, region: Region, task: str, wish: Wish) -> NewSample:
    if region.ignored:
        raise _left_out(region)
    target = target_of(region.text, task, page.markup)
    part = crop(image, scaled(region.points, page.frame, image.size))
    return _sample(origin, Picture(page.picture.name, content=_png(part)), task, target, wish)


def _png(image: Image) -> bytes:
    content = BytesIO()
    # Twice as fast as the usual 6, and about as small on scans.
    image.save(content, "PNG", compress_level=3)
    return content.getvalue()
