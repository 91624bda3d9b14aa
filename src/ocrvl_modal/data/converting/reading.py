"""Reading files that others made: text line by line, images by their first bytes, paths as label files mean them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ocrvl_modal.data import image_endings
from ocrvl_modal.data.converting.items import Unusable
from ocrvl_modal.data.image_endings import HEAD_BYTES
from ocrvl_modal.data.rows import BYTE_ORDER_MARK
from ocrvl_modal.data.schema import RowRefused
from ocrvl_modal.data.sources import ENDINGS

LARGEST_TEXT_BYTES = 64 << 20
"""A file of one page's text, or of its XML, over this is none."""


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder by name, but for hidden ones."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(at, name) for name in sorted(names) if not name.startswith("."))


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder that are images by their names."""
    return filter(is_image, files_below(folder))


def is_image(path: Path) -> bool:
    """Say whether a file is an image by its name."""
    return path.suffix.lower() in ENDINGS


def text_of(path: Path) -> str:
    """Return the text of a file; raise :class:`Unusable` where it is not there, no text, or far too long."""
    try:
        if path.stat().st_size > LARGEST_TEXT_BYTES:
            raise Unusable("too_large", f"{path.name} has over {LARGEST_TEXT_BYTES >> 20} MiB")
        return path.read_bytes().removeprefix(BYTE_ORDER_MARK).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Unusable("not_utf8", f"byte {error.start + 1} of {path.name} is not UTF-8 text") from error
    except OSError as error:
        raise Unusable("unreadable", f"{path.name} cannot be read: {error.strerror or error}") from error


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, without their ends; blank ones are left out."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            line = (raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw).rstrip(b"\r\n")
            if line.strip():
                yield number, line


def begins_with(path: Path, read: Callable[[bytes], object]) -> bool:
    """Say whether ``read`` takes a file's first line that is not blank; none at all is an empty line."""
    try:
        _, line = next(lines_of(path), (0, b""))
        read(line)
    except (OSError, Unusable, RowRefused):
        return False
    return True


def decoded(line: bytes) -> str:
    """Return a line as text; raise :class:`Unusable` for one that is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable("not_utf8", f"byte {error.start + 1} of the line is not UTF-8 text") from error


def find_image(name: str, roots: Iterable[Path]) -> Path:
    """Return the file that a label means, below the first root that has it; raise :class:`Unusable` without one."""
    searched = list(roots)
    if name.strip() and "\0" not in name:
        for root in searched:
            path = root / name.replace("\\", "/")
            try:
                if path.is_file():
                    return path
            except OSError:  # a name that is too long for the file system
                break
    below = " or ".join(dict.fromkeys(str(root) for root in searched))
    raise Unusable("image_missing", f"there is no image '{name[:120]}' in {below}")


def find_moved_image(names: Sequence[str], file: Path, roots: Sequence[Path]) -> Path:
    """Return the image that an archive's file names, or that is called as the file is.

    Archives move images, so that a name counts without its folders, and convert them, so that any ending will do; the
    file may also name a PDF that the image was made of. Raises :class:`Unusable` where there is none.
    """
    bare = [name.replace("\\", "/").rpartition("/")[2] for name in names]
    stems = dict.fromkeys(stem for stem in (*(Path(name).stem for name in bare), file.stem) if stem)
    endings = [case for ending in sorted(ENDINGS) for case in (ending, ending.upper())]
    images = [name for name in (*names, *bare) if is_image(Path(name))]
    for name in (*images, *(stem + ending for stem in stems for ending in endings), *names, *bare):
        with suppress(Unusable):
            return find_image(name, roots)
    return find_image(next(filter(None, names), file.stem), roots)


def ambiguous(name: str, images: Sequence[Path]) -> Unusable:
    """Return why an image is not taken: others are called the same, and with one of them its text would be wrong."""
    shown = " or ".join(str(image) for image in images[:3])
    return Unusable("image_ambiguous", f"image '{name[:120]}' could be {shown}; name its folder with --root")


def ending_of_file(path: Path) -> str:
    """Return the ending that suits an image file; raise :class:`Unusable` where it is empty or no image."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise Unusable("image_missing", f"{path} cannot be read: {error.strerror or error}") from error
    return ending_of(head)


def ending_of(content: bytes) -> str:
    """Return the ending that suits an image by its first bytes; raise :class:`Unusable` where it is none."""
    if not content:
        raise Unusable("image_empty", "the image is empty")
    if ending := image_endings.ending_of(content):
        return ending
    raise Unusable("not_an_image", f"it is no image of a known form: it begins with {content[:HEAD_BYTES]!r}")
