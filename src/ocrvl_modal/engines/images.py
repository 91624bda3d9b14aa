"""From an image file to what the model sees: the one way, so that training and reading see the same."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrvl_modal.engines.libraries import make_transformers_importable
from ocrvl_modal.errors import OcrvlError, data_error, not_found
from ocrvl_modal.models import PixelLimits

if TYPE_CHECKING:
    from PIL.Image import Image

PREPROCESSOR_FILE = "preprocessor_config.json"

_PROCESSOR_KEYS = (
    "do_convert_rgb",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "merge_size",
    "patch_size",
    "resample",
    "rescale_factor",
    "temporal_patch_size",
)


def load_image(source: Path | bytes) -> Image:
    """Return an image, of a file or its bytes, as RGB with 8 bits a channel; raise a data error for one not whole.

    Transparent parts become white, 16-bit grey keeps its upper 8 bits, of several frames the first is taken. An EXIF
    orientation is not applied: neither PaddleFormers nor ERNIEKit does, so the base models never saw it applied, and
    a dataset's boxes and line order are those of the stored pixels.
    """
    import PIL
    import PIL.Image

    name = source if isinstance(source, Path) else "it"
    try:
        with PIL.Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return as_rgb(image)
    except FileNotFoundError as error:
        raise data_error(f"there is no image {name}") from error
    except PIL.UnidentifiedImageError as error:
        raise data_error(f"{name} is not an image in a format that Pillow reads") from error
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        raise data_error(f"{name} cannot be read as an image: {error}") from error


def as_rgb(image: Image) -> Image:
    """Return an open image as RGB, decoded; see :func:`load_image` for what becomes of its other parts."""
    import PIL.Image

    if image.mode.startswith("I"):
        return _upper_8_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    white = PIL.Image.new("RGBA", with_alpha.size, "white")
    return PIL.Image.alpha_composite(white, with_alpha).convert("RGB")


def image_processor(model_folder: Path, pixels: PixelLimits | None = None) -> Any:
    """Return the model's own image processor, in the form that needs no torchvision.

    ``pixels`` goes before the limits in the model's ``preprocessor_config.json``.
    """
    config = _read_config(model_folder)
    limits = pixels or pixel_limits(model_folder)
    known = {key: config[key] for key in _PROCESSOR_KEYS if key in config}
    return _processor_class()(**known, min_pixels=limits.minimum, max_pixels=limits.maximum)


def _processor_class() -> Any:
    """Return the processor that works on Pillow images: it has another name since transformers 5.18."""
    make_transformers_importable()
    try:
        from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil
    except ModuleNotFoundError:
        from transformers.models.paddleocr_vl.image_processing_paddleocr_vl import PaddleOCRVLImageProcessor

        return PaddleOCRVLImageProcessor
    return PaddleOCRVLImageProcessorPil


def pixel_limits(model_folder: Path) -> PixelLimits:
    """Return the limits that a model's ``preprocessor_config.json`` gives, in either of the two forms in use."""
    config = _read_config(model_folder)
    size = config.get("size") or {}
    minimum = config.get("min_pixels") or size.get("min_pixels") or size.get("shortest_edge")
    maximum = config.get("max_pixels") or size.get("max_pixels") or size.get("longest_edge")
    if not minimum or not maximum:
        raise OcrvlError(
            f"{model_folder / PREPROCESSOR_FILE} gives no pixel limits", "take it from the model's own repository"
        )
    return PixelLimits(int(minimum), int(maximum))


def write_pixel_limits(model_folder: Path, pixels: PixelLimits) -> None:
    """Make ``pixels`` the limits of the model in a folder, for every program that reads its processor's file."""
    from ocrvl_modal import files

    config = _read_config(model_folder)
    config.update(min_pixels=pixels.minimum, max_pixels=pixels.maximum)
    if "size" in config:
        config["size"] = {"shortest_edge": pixels.minimum, "longest_edge": pixels.maximum}
    files.write_json(model_folder / PREPROCESSOR_FILE, config)


def _read_config(model_folder: Path) -> dict[str, Any]:
    path = model_folder / PREPROCESSOR_FILE
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise not_found(f"there is no {path}", "take it from the model's own repository") from error
    except ValueError as error:
        raise OcrvlError(f"{path} is not JSON: {error}", "take it from the model's own repository") from error
    return config


def _upper_8_bits(image: Image) -> Image:
    """Scale grey of 16 bits to 8, where Pillow would cut every value over 255 to white."""
    wide = image.convert("I")
    _, brightest = wide.getextrema()
    return wide if brightest <= 255 else wide.point(lambda value: value * (1 / 256))
