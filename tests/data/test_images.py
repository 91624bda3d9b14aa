"""Each thing that can be wrong with an image's file is found by its own kind, and what is whole has no finding."""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.pictures import line, page
from ocrvl_modal.data.checking.headers import HEAD_BYTES, TAIL_BYTES, plain_size
from ocrvl_modal.data.checking.images import ImageLook, look_at_image
from ocrvl_modal.data.checking.kinds import KINDS
from ocrvl_modal.models import PixelLimits

LIMITS = PixelLimits(112_896, 1_003_520)
ORIENTATION = 0x0112

Make = Callable[[Path], None]


def look(path: Path, *, decode: bool) -> ImageLook:
    return look_at_image(path, LIMITS, decode=decode)


def kinds(path: Path, *, decode: bool) -> list[str]:
    found = look(path, decode=decode).findings
    assert all(kind in KINDS and str(path) in message for kind, message in found)
    return [kind for kind, _ in found]


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return page(Random(1), 6).crop((0, 0, 400, 200))


FORMATS = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000"]


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("image_format", FORMATS)
def test_a_whole_image_has_no_finding(tmp_path: Path, picture: Image.Image, image_format: str, *, decode: bool) -> None:
    path = tmp_path / "image"
    path.write_bytes(encoded(picture, image_format))
    found = look(path, decode=decode)
    assert (found.width, found.height, found.findings) == (400, 200, ())
    assert found.vision_tokens == LIMITS.vision_tokens(200, 400)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.sha256 == (digest if decode else None)
    assert (found.likeness is not None) is decode


def turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, "JPEG", exif=exif)


def of_16_bits() -> Image.Image:
    grey = Image.new("I;16", (300, 100), 40_000)
    for x in range(0, 300, 7):
        grey.paste(9_000, (x, 10, x + 3, 90))
    return grey


def colours_of_16_bits(width: int = 60, height: int = 60) -> bytes:
    """Return a PNG of three channels with 16 bits each, which Pillow cannot write."""
    rows = b"".join(b"\0" + bytes(range(60)) * 6 for _ in range(height))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in [*chunks, (b"IEND", b"")])


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bomb() -> bytes:
    """Return the header of a PNG of ten thousand million pixels, with a pixel or two."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\0"))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in [*chunks, (b"IEND", b"")])


def several_frames(image: Image.Image, image_format: str) -> bytes:
    return encoded(image, image_format, save_all=True, append_images=[image.rotate(180)])


WRONG: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "no bytes": ("image_empty", lambda _: b""),
    "text": ("image_unreadable", lambda _: b"<html>not found</html>" * 20),
    "a beginning only": ("image_unreadable", lambda image: encoded(image, "PNG")[:20]),
    "half a PNG": ("image_truncated", lambda image: encoded(image, "PNG")[:-2000]),
    "half a JPEG": ("image_truncated", lambda image: encoded(image, "JPEG")[:-2000]),
    "half a GIF": ("image_truncated", lambda image: encoded(image, "GIF")[:-2000]),
    "half a TIFF": ("image_truncated", lambda image: encoded(image, "TIFF")[:-2000]),
    "half a BMP": ("image_truncated", lambda image: encoded(image, "BMP")[:-2000]),
    "too thin": ("image_shape", lambda _: encoded(Image.new("RGB", (9000, 30)), "PNG")),
    "thinner than the formula allows": ("image_shape", lambda _: encoded(Image.new("RGB", (28, 6000)), "PNG")),
    "a bomb": ("image_too_large", lambda _: bomb()),
    "turned": ("image_rotated", lambda image: turned(image, 6)),
    "CMYK": ("image_cmyk", lambda image: encoded(image.convert("CMYK"), "JPEG")),
    "grey of 16 bits": ("image_16bit", lambda _: encoded(of_16_bits(), "PNG")),
    "colours of 16 bits": ("image_16bit", lambda _: colours_of_16_bits()),
    "numbers": ("image_16bit", lambda image: encoded(image.convert("F"), "TIFF")),
    "a GIF that moves": ("image_animated", lambda image: several_frames(image, "GIF")),
    "a PNG that moves": ("image_animated", lambda image: several_frames(image, "PNG")),
    "a WebP that moves": ("image_animated", lambda image: several_frames(image, "WEBP")),
    "a TIFF of two pages": ("image_animated", lambda image: several_frames(image, "TIFF")),
}


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found_by_its_kind(tmp_path: Path, picture: Image.Image, name: str, *, decode: bool) -> None:
    kind, make = WRONG[name]
    path = tmp_path / "image"
    path.write_bytes(make(picture))
    assert kinds(path, decode=decode) == [kind]


def test_half_a_webp_is_told_though_its_reader_refuses_it_whole(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "image.webp"
    path.write_bytes(encoded(picture, "WEBP")[:-2000])
    for decode in (True, False):
        assert kinds(path, decode=decode)[0] in {"image_truncated", "image_unreadable"}


@pytest.mark.parametrize("decode", [True, False])
def test_several_things_are_all_told(tmp_path: Path, picture: Image.Image, *, decode: bool) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(turned(picture.convert("CMYK"), 3))
    assert kinds(path, decode=decode) == ["image_cmyk", "image_rotated"]


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_an_upright_image_is_not_turned_whatever_its_exif_holds(
    tmp_path: Path, picture: Image.Image, orientation: int
) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(turned(picture, orientation))
    assert kinds(path, decode=False) == []


def test_a_damaged_exif_block_turns_nothing(tmp_path: Path, picture: Image.Image) -> None:
    whole = turned(picture, 6)
    at = whole.index(b"Exif\0\0")
    path = tmp_path / "image.jpg"
    path.write_bytes(whole[: at + 6] + b"\xff" * 12 + whole[at + 18 :])
    assert kinds(path, decode=True) == []


@pytest.mark.parametrize("decode", [True, False])
def test_what_a_camera_writes_behind_a_jpeg_is_no_damage(tmp_path: Path, picture: Image.Image, *, decode: bool) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(encoded(picture, "JPEG") + b"\0\0SEFT made by a camera" * 9)
    assert kinds(path, decode=decode) == []


def test_a_thumbnail_s_end_does_not_make_half_an_image_whole(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "image.jpg"
    exif = b"Exif\0\0" + encoded(picture.resize((40, 20)), "JPEG")
    path.write_bytes(encoded(picture, "JPEG", exif=exif)[:-2000])
    assert kinds(path, decode=False) == ["image_truncated"]


@pytest.mark.parametrize("decode", [True, False])
def test_what_is_no_file_is_told(tmp_path: Path, *, decode: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert kinds(tmp_path / "missing.png", decode=decode) == ["image_missing"]
    assert kinds(tmp_path / "missing.png" / "below", decode=decode) == ["image_missing"]
    assert kinds(tmp_path, decode=decode) == ["image_unreadable"]
    assert kinds(pipe, decode=decode) == ["image_unreadable"]
    assert kinds(tmp_path / ("n" * 300), decode=decode) == ["image_unreadable"]


def test_half_a_surrogate_in_a_name_is_a_missing_file(tmp_path: Path) -> None:
    found = look_at_image(tmp_path / "a\ud800.png", LIMITS, decode=True)
    assert [kind for kind, _ in found.findings] == ["image_missing"]


def test_a_large_image_is_not_decoded_and_warns_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded(page(Random(1)).crop((0, 0, 300, 300)), "PNG"))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 70_000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("it was decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds(path, decode=True) == ["image_too_large"]
        assert kinds(path, decode=False) == ["image_too_large"]


def test_the_same_picture_in_two_files_has_two_digests_and_one_likeness(tmp_path: Path) -> None:
    image = line("the same twice")
    image.save(tmp_path / "one.png")
    image.save(tmp_path / "two.bmp")
    one, two = (look(tmp_path / name, decode=True) for name in ("one.png", "two.bmp"))
    assert one.sha256 != two.sha256
    assert one.likeness == two.likeness is not None


PLAIN = {
    "PNG": [{}, {"dpi": (72, 72)}, {"optimize": True}],
    "JPEG": [{}, {"quality": 20}, {"progressive": True}, {"comment": b"made here"}, {"dpi": (300, 300)}],
}


@pytest.mark.parametrize(
    ("image_format", "options"), [(name, options) for name, all_options in PLAIN.items() for options in all_options]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
def test_everyday_files_are_known_without_pillow(
    picture: Image.Image, image_format: str, options: dict[str, object], mode: str
) -> None:
    if image_format == "JPEG" and mode not in {"RGB", "L"}:
        return
    content = encoded(picture.convert(mode), image_format, **options)
    assert plain_size(content[:HEAD_BYTES], content[-TAIL_BYTES:]) == (400, 200)


def test_whatever_is_not_plain_is_left_to_pillow(picture: Image.Image) -> None:
    left = [
        turned(picture, 6),
        encoded(picture.convert("CMYK"), "JPEG"),
        encoded(of_16_bits(), "PNG"),
        several_frames(picture, "PNG"),
        encoded(picture, "PNG")[:-1],
        encoded(picture, "JPEG")[:-1],
        encoded(picture, "GIF"),
        b"",
    ]
    assert [plain_size(content[:HEAD_BYTES], content[-TAIL_BYTES:]) for content in left] == [None] * len(left)


SOUND = [encoded(line("fuzz"), "PNG"), encoded(line("fuzz"), "JPEG"), encoded(line("fuzz").convert("P"), "GIF")]


@given(st.data())
def test_no_damage_to_a_file_raises_and_the_quick_look_says_what_pillow_says(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SOUND)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 700)))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(1, len(content)))])
    size = plain_size(damaged[:HEAD_BYTES], damaged[-TAIL_BYTES:])
    with TemporaryDirectory() as folder:
        path = Path(folder, "image")
        path.write_bytes(damaged)
        looks = [look(path, decode=decode) for decode in (True, False)]
    assert all(kind in KINDS for found in looks for kind, _ in found.findings)
    if size and 0 < size[0] * size[1] < 10**6:
        with Image.open(BytesIO(damaged)) as image:
            assert image.size == size


def test_threads_that_look_at_images_leave_warnings_as_they_were(tmp_path: Path, picture: Image.Image) -> None:
    paths = [tmp_path / f"{number}.gif" for number in range(24)]
    for path in paths:
        picture.save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        assert not any(found.findings for found in pool.map(lambda path: look(path, decode=True), paths))
    assert list(warnings.filters) == before
