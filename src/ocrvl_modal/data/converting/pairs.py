"""Folders in which each image has a file of its text beside it: ``page.png`` with ``page.txt``, and the like."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby, islice
from pathlib import Path
from types import MappingProxyType

from ocrvl_modal.data.converting.items import Dropped, Items, Markup, Page, Picture, Unusable
from ocrvl_modal.data.converting.reading import files_below, images_below, is_image, text_of

TEXT_ENDINGS: Mapping[str, Markup] = MappingProxyType(
    {".gt.txt": "plain", ".txt": "plain", ".md": "markdown", ".html": "html", ".htm": "html"}
)
"""The endings of text files, small or in capitals, as they are looked for, and how each is written."""


def read(path: Path, roots: object) -> Items:
    """Yield a page for each image in and below a folder, or for the image of one text file."""
    del roots
    if path.is_file():
        yield _page(image_beside(path), path.parent)
        return
    for _, found in groupby(files_below(path), lambda file: file.parent):
        yield from _in_one_folder(list(found), path)


def is_text(path: Path) -> bool:
    """Say whether a file is the text of an image by its name."""
    return path.name.lower().endswith(tuple(TEXT_ENDINGS))


def has_pair(folder: Path, looked_at: int = 200) -> bool:
    """Say whether one of the first images in and below a folder has a text beside it."""
    return any(text_beside(image) is not None for image in islice(images_below(folder), looked_at))


def text_beside(image: Path) -> tuple[Path, Markup] | None:
    """Return the file with an image's text, and how it is written."""
    for ending, markup in TEXT_ENDINGS.items():
        for name in (f"{stem}{case}" for stem in (image.stem, image.name) for case in (ending, ending.upper())):
            path = image.with_name(name)
            if path.is_file():
                return path, markup
    return None


def image_beside(text: Path) -> Path:
    """Return the image whose text a file is; the text's own path where there is none."""
    stems = _stems_of(text)
    beside = (image for image in images_below(text.parent) if image.parent == text.parent)
    return next((image for image in beside if stems & {image.stem, image.name}), text)


def _stems_of(text: Path) -> set[str]:
    """Return what the image of a text may be called."""
    name = text.name
    return {name[: -len(ending)] for ending in TEXT_ENDINGS if name.lower().endswith(ending)}


def _in_one_folder(found: list[Path], root: Path) -> Items:
    """Yield a page for each image among the files of a folder, and then the texts that are of none."""
    images = [file for file in found if is_image(file)]
    for image in images:
        yield _page(image, root)
    named = {name for image in images for name in (image.stem, image.name)}
    for file in found:
        if is_text(file) and not named & _stems_of(file):
            detail = "there is no image of the same name beside the text"
            yield Dropped(file.relative_to(root).as_posix(), "no_image", detail)


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
