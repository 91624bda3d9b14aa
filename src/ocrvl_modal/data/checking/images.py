"""What is wrong with one image's file, found by its header and its end, or by decoding it whole."""

from __future__ import annotations

import logging
import math
import os
import stat
import threading
import warnings
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ocrvl_modal.data.checking.endings import ends_whole
from ocrvl_modal.data.checking.headers import HEAD_BYTES, TAIL_BYTES, plain_size
from ocrvl_modal.data.checking.likeness import likeness
from ocrvl_modal.errors import first_line
from ocrvl_modal.models import PixelLimits

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

ImageFinding = tuple[str, str]
"""The kind of a finding, one of KINDS, and its message."""

# What Pillow logs of a damaged file is in the finding; without a handler it would be printed as well.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_ORIENTATION = 0x0112
_EXIF_KEYS = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
# A JPEG's further pictures are previews, and a Photoshop file's its layers.
_ANIMATED_FORMATS = frozenset({"GIF", "PNG", "WEBP", "TIFF", "AVIF", "FLI", "DCX", "IM", "MIC"})


@dataclass(frozen=True)
class ImageLook:
    """What an image's file turned out to be.

    ``width`` and ``height`` are pixels, and ``vision_tokens`` what the model makes of them; all three are 0 where the
    image cannot be used. ``sha256`` of the file's bytes and ``likeness`` are known where the image was decoded, and
    ``likeness`` is ``None`` too for an image with next to nothing in it.
    """

    width: int = 0
    height: int = 0
    vision_tokens: int = 0
    sha256: str | None = None
    likeness: int | None = None
    findings: tuple[ImageFinding, ...] = ()


def look_at_image(path: Path | str, pixels: PixelLimits, *, decode: bool) -> ImageLook:
    """Return what is in the file ``path`` and all that is wrong with it; nothing in a file makes it raise.

    With ``decode`` the whole image is decoded. Else its header is read, and its end: where these leave a doubt that
    it is whole, it is decoded all the same. An image of more pixels than Pillow thinks safe never is.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return _refused("image_missing", f"there is no image {path}")
    except OSError as error:
        return _refused("image_unreadable", f"image {path} cannot be read: {error.strerror}")
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return _refused("image_unreadable", f"{path} is a folder or a device, not an image file")
        if not status.st_size:
            return _refused("image_empty", f"image {path} has zero bytes")
        if not decode and (size := _plain_size(descriptor, status.st_size)):
            return ImageLook(*size, _vision_tokens(*size, path, pixels))
        with os.fdopen(descriptor, "rb", closefd=False) as stream, _quiet_pillow:
            return _decoded(_read(stream, path), path, pixels) if decode else _glanced_at(stream, path, pixels)
    except _Refused as refused:
        return _refused(refused.kind, refused.message)
    finally:
        os.close(descriptor)


class _QuietPillow:
    """Ignores what Pillow only warns of, such as a damaged tag, while any thread looks at an image.

    Python keeps one list of filters for all threads, so the first to come sets it and the last to go restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_quiet_pillow = _QuietPillow()


class _Refused(Exception):
    """Ends the look at one image."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


def _refused(kind: str, message: str) -> ImageLook:
    return ImageLook(findings=((kind, message),))


def _plain_size(descriptor: int, size_bytes: int) -> tuple[int, int] | None:
    """Return the size of an everyday image in which there is nothing to find."""
    try:
        head = os.pread(descriptor, HEAD_BYTES, 0)
        tail = head if size_bytes <= HEAD_BYTES else os.pread(descriptor, TAIL_BYTES, size_bytes - TAIL_BYTES)
    except OSError:
        return None
    size = plain_size(head, tail)
    return size if size and 0 < size[0] * size[1] <= _most_pixels() else None


def _read(stream: BinaryIO, path: Path | str) -> bytes:
    try:
        return stream.read()
    except OSError as error:
        raise _Refused("image_unreadable", f"image {path} cannot be read: {error.strerror}") from error


def _decoded(content: bytes, path: Path | str, pixels: PixelLimits) -> ImageLook:
    """Look at an image's pixels."""
    with _open(BytesIO(content), path) as image:
        findings = _by_its_kind(image, path)
        tokens = _vision_tokens(image.width, image.height, path, pixels)
        try:
            image.load()
        except Exception as error:  # each format's decoder fails in ways of its own
            raise _Refused("image_truncated", f"image {path} is cut off or damaged: {first_line(error)}") from error
        try:
            seen = likeness(image)
        except Exception as error:  # such as colours that nothing converts
            raise _Refused("image_unreadable", f"image {path} cannot be used: {first_line(error)}") from error
        findings += _by_its_frames(image, path)
        return ImageLook(image.width, image.height, tokens, sha256(content).hexdigest(), seen, tuple(findings))


def _glanced_at(stream: BinaryIO, path: Path | str, pixels: PixelLimits) -> ImageLook:
    """Look at an image's header and its end, and at its pixels where these leave a doubt."""
    image = _open(stream, path)
    if not ends_whole(image, stream):
        stream.seek(0)
        return replace(_decoded(_read(stream, path), path, pixels), sha256=None, likeness=None)
    findings = [*_by_its_kind(image, path), *_by_its_frames(image, path)]
    return ImageLook(
        image.width, image.height, _vision_tokens(image.width, image.height, path, pixels), findings=tuple(findings)
    )


def _open(stream: BinaryIO, path: Path | str) -> ImageFile:
    """Open an image without decoding it; refuse what Pillow does not read, or does not think safe to decode."""
    import PIL.Image

    try:
        image = PIL.Image.open(stream)
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except PIL.UnidentifiedImageError as error:
        raise _Refused("image_unreadable", f"{path} is not an image in a format that Pillow reads") from error
    except Exception as error:  # each format's reader fails in ways of its own
        raise _Refused("image_unreadable", f"image {path} cannot be read: {first_line(error)}") from error
    if image.width * image.height > _most_pixels():
        raise _too_large(path)
    return image


def _too_large(path: Path | str) -> _Refused:
    most = f"{_most_pixels() / 1e6:.0f} million"
    return _Refused("image_too_large", f"image {path} has over {most} pixels: scale it down")


def _most_pixels() -> float:
    """Return how many pixels Pillow thinks safe to decode."""
    import PIL.Image

    return PIL.Image.MAX_IMAGE_PIXELS or math.inf


def _vision_tokens(width: int, height: int, path: Path | str, pixels: PixelLimits) -> int:
    try:
        return pixels.vision_tokens(height, width)
    except (ValueError, ZeroDivisionError) as error:
        size = f"{width} x {height} pixels"
        raise _Refused("image_shape", f"image {path} of {size} cannot be used: {error}") from error


def _by_its_kind(image: ImageFile, path: Path | str) -> list[ImageFinding]:
    """Return what the header says that no program treats as the next one does."""
    findings = []
    if image.mode == "CMYK":
        findings.append(("image_cmyk", f"image {path} is CMYK"))
    if bits := _wide_bits(image):
        findings.append(("image_16bit", f"image {path} has {bits} bits a channel"))
    return findings


def _wide_bits(image: ImageFile) -> int:
    """Return the bits of a channel that has more than 8; 0 for all others."""
    if image.mode.startswith("I;16") or any("16" in _raw_mode(tile) for tile in image.tile):
        return 16
    return 32 if image.mode in {"I", "F"} else 0


def _raw_mode(tile: Any) -> str:
    """Return how the file orders an image's bits, such as ``RGB;16B``."""
    args = tile[3]
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _by_its_frames(image: ImageFile, path: Path | str) -> list[ImageFinding]:
    """Return what may stand behind the pixels in a file: an orientation, and further frames."""
    findings = []
    if (orientation := _orientation(image)) != 1:
        message = f"image {path} is stored turned (EXIF orientation {orientation}), and no engine turns it back"
        findings.append(("image_rotated", message))
    if image.format in _ANIMATED_FORMATS and _has_more_frames(image):
        findings.append(("image_animated", f"image {path} has several frames; only the first is read"))
    return findings


def _orientation(image: ImageFile) -> int:
    """Return the EXIF orientation, from 1 (upright) to 8; 1 where the file has none that makes sense."""
    if not _EXIF_KEYS.intersection(image.info) and image.format != "TIFF":
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block turns nothing
        return 1
    return orientation if orientation in range(1, 9) else 1


def _has_more_frames(image: ImageFile) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 - there is something behind the first frame, though damaged
        return True
