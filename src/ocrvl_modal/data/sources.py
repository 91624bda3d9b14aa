"""Which images a user means by files, folders and URLs, and what each is called in the output."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ocrvl_modal.errors import not_found
from ocrvl_modal.places import is_place

ENDINGS = frozenset({".bmp", ".gif", ".j2k", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Endings of the files that are taken from a folder; a file that is named itself may have any."""

LARGEST_DOWNLOAD_BYTES = 64 << 20
DOWNLOAD_TIMEOUT_S = 60.0

_CHUNK_BYTES = 1 << 16
_AGENT = {"User-Agent": "ocrvl"}


@dataclass(frozen=True)
class SourceImage:
    """One image that was asked for.

    ``name`` is how the user would say it, ``stem`` what its output is called, with ``/`` where it lay in a folder
    below. It is a ``file``, by its absolute path or its place in a store, or ``content`` where it was downloaded.
    """

    name: str
    stem: str
    file: str | None = None
    content: bytes | None = None


FilesAt = Callable[[str], list[str]]
"""Returns the places of all files at and below a place in a store; none where nothing is there."""


def is_url(source: str) -> bool:
    """Say whether a source is to be downloaded."""
    return source.lower().startswith(("http://", "https://"))


def collect_images(sources: Iterable[str], files_at: FilesAt) -> list[SourceImage]:
    """Return the images of all sources, in their order, those of a folder by name; none is decoded.

    Raises *not found* that lists everything which is missing, be it a file, a folder without images or a URL.
    """
    found: list[SourceImage] = []
    missing: list[str] = []
    for source in sources:
        try:
            found += _images_of(source, files_at)
        except _Missing as problem:
            missing.append(str(problem))
    if missing:
        raise not_found("; ".join(missing), "name images, folders that hold some, or http(s) URLs")
    return _with_stems_of_their_own(found)


class _Missing(Exception):
    """A source that gives no image, in words."""


def _images_of(source: str, files_at: FilesAt) -> list[SourceImage]:
    if is_url(source):
        return [_download(source)]
    if is_place(source):
        files = files_at(source)
        if not files:
            raise _Missing(f"there is no {source}")
        return _among(source, PurePosixPath(source), files)
    path = Path(source)
    if path.is_file():
        return [SourceImage(source, path.stem, str(path.absolute()))]
    if not path.is_dir():
        raise _Missing(f"there is no {source}")
    inside = [str(file.absolute()) for file in path.rglob("*") if file.is_file()]
    return _among(source, PurePosixPath(path.absolute()), inside)


def _among(source: str, root: PurePosixPath, files: list[str]) -> list[SourceImage]:
    """Return the images among the files below ``root``, or ``root`` itself where it is a file."""
    if files == [str(root)]:
        return [SourceImage(source, root.stem, files[0])]
    images = [file for file in sorted(PurePosixPath(file).relative_to(root) for file in files) if _is_image(file)]
    if not images:
        raise _Missing(f"there is no image ({' '.join(sorted(ENDINGS))}) in {source}")
    return [
        SourceImage(str(PurePosixPath(source) / file), str(file.with_suffix("")), str(root / file)) for file in images
    ]


def _is_image(file: PurePosixPath) -> bool:
    return file.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in file.parts)


def _download(url: str) -> SourceImage:
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT_S
    content = bytearray()
    try:
        request = urllib.request.Request(url, headers=_AGENT)
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK_BYTES):
                content += chunk
                if len(content) > LARGEST_DOWNLOAD_BYTES:
                    raise _Missing(f"{url} is larger than {LARGEST_DOWNLOAD_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise _Missing(f"{url} did not arrive within {DOWNLOAD_TIMEOUT_S:.0f} seconds")
    except urllib.error.HTTPError as error:
        error.close()
        raise _Missing(f"{url} cannot be downloaded: {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _Missing(f"{url} cannot be downloaded: {reason}") from error
    return SourceImage(url, _stem_of_url(url), content=bytes(content))


def _stem_of_url(url: str) -> str:
    last = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in PurePosixPath(last).stem)
    return safe.strip(".-") or "image"


def _with_stems_of_their_own(images: list[SourceImage]) -> list[SourceImage]:
    """Number the later ones of images that would get the same output, on file systems that ignore case too."""
    taken: set[str] = set()
    renamed: list[SourceImage] = []
    for image in images:
        stem, number = image.stem, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{image.stem}-{number}"
        taken.add(stem.lower())
        renamed.append(replace(image, stem=stem))
    return renamed
