"""Folders in which each image has a file of its text beside it: ``page.png`` with ``page.txt``, and the like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from ocrvl_modal.data.converting.items import Dropped, Items, Markup, Page, Picture, Unusable
from ocrvl_modal.data.converting.reading import images_below, text_of

TEXT_ENDINGS: Mapping[str, Markup] = MappingProxyType(
    {".gt.txt": "plain", ".txt": "plain", ".md": "markdown", ".html": "html", ".htm": "html"}
)
"""The endings of text files, in the order in which they are looked for, and how each is written."""


def read(path: Path, roots: object) -> Items:
    """Yield a page for each image in and below a folder, or for the image of one text file."""
    del roots
    if path.is_file():
        yield _page(image_beside(path), path.parent)
        return
    for image in images_below(path):
        yield _page(image, path)


def has_pair(folder: Path, looked_at: int = 200) -> bool:
    """Say whether one of the first images in and below a folder has a text beside it."""
    return any(text_beside(image) is not None for image in islice(images_below(folder), looked_at))


def text_beside(image: Path) -> tuple[Path, Markup] | None:
    """Return the file with an image's text, and how it is written."""
    for ending, markup in TEXT_ENDINGS.items():
        for stem in (image.stem, image.name):
            path = image.with_name(stem + ending)
            if path.is_file():
                return path, markup
    return None


def image_beside(text: Path) -> Path:
    """Return the image whose text a file is; the text's own path where there is none."""
    stems = {text.name.removesuffix(ending) for ending in TEXT_ENDINGS if text.name.endswith(ending)}
    return next(_among(text.parent, stems), text)


def _among(folder: Path, stems: set[str]) -> Iterator[Path]:
    return (image for image in images_below(folder) if image.parent == folder and {image.stem, image.name} & stems)


def _page(image: Path, folder: Path) -> Page | Dropped:
    origin = image.relative_to(folder).as_posix()
    found = text_beside(image)
    if found is None:
        return Dropped(origin, "no_text_file", "there is no text file of the same name beside the image")
    path, markup = found
    try:
        return Page(origin, Picture(origin, image), text_of(path), markup)
    except Unusable as unusable:
        return unusable.at(origin)
