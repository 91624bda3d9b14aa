from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from ocrvl_modal.engines.images import load_image, pixel_limits, write_pixel_limits
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import PixelLimits


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    loaded = load_image(saved(image, tmp_path / "a.png"))
    assert (loaded.mode, loaded.getpixel((0, 0)), loaded.getpixel((1, 0))) == ("RGB", (255, 255, 255), (10, 20, 30))


def test_a_transparent_colour_of_a_palette_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (1, 1), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert load_image(saved(image, tmp_path / "a.png", transparency=0)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_grey_of_16_bits_keeps_its_shades(tmp_path: Path, ending: str) -> None:
    image = Image.new("I;16", (3, 1))
    for place, value in enumerate((0, 0x8000, 0xFFFF)):
        image.putpixel((place, 0), value)
    loaded = load_image(saved(image, tmp_path / f"a.{ending}"))
    assert [loaded.getpixel((place, 0)) for place in range(3)] == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_usual_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    ending = "jpg" if mode in {"CMYK", "YCbCr"} else "png"
    loaded = load_image(saved(Image.new("RGB", (4, 3), "white").convert(mode), tmp_path / f"a.{ending}"))
    assert (loaded.mode, loaded.size, loaded.getpixel((0, 0))) == ("RGB", (4, 3), (255, 255, 255))


def test_an_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    path = saved(Image.new("RGB", (40, 20)), tmp_path / "a.jpg", exif=exif)
    assert load_image(path).size == (40, 20)


def test_the_bytes_of_a_file_load_like_the_file(tmp_path: Path) -> None:
    path = saved(Image.radial_gradient("L"), tmp_path / "a.png")
    assert load_image(path.read_bytes()).tobytes() == load_image(path).tobytes()


def test_a_file_that_was_cut_off_is_no_image(tmp_path: Path) -> None:
    path = saved(Image.effect_noise((64, 64), 50), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(OcrvlError, match=r"a\.png cannot be read as an image") as caught:
        load_image(path)
    assert caught.value.code is ExitCode.DATA_INVALID


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    with pytest.raises(OcrvlError, match="not an image"):
        load_image(content)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError, match=r"there is no image .*gone\.png"):
        load_image(tmp_path / "gone.png")


def test_the_first_frame_stands_for_an_animation() -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert load_image(stream.getvalue()).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        '{"min_pixels": 1568, "max_pixels": 12544}',
        '{"size": {"min_pixels": 1568, "max_pixels": 12544}}',
        '{"size": {"shortest_edge": 1568, "longest_edge": 12544}}',
    ],
)
def test_pixel_limits_are_read_in_every_form_and_changed_in_place(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    assert pixel_limits(tmp_path) == PixelLimits(1568, 12544)
    write_pixel_limits(tmp_path, PixelLimits(784, 7840))
    assert pixel_limits(tmp_path) == PixelLimits(784, 7840)


@pytest.mark.parametrize("content", ["{}", "not json"])
def test_a_processor_file_without_limits_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(OcrvlError, match=r"preprocessor_config\.json"):
        pixel_limits(tmp_path)
