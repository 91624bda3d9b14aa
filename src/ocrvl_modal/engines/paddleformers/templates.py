"""The family's prompts as PaddleFormers' templates, with images as reading sees them. Runs in its processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ocrvl_modal.engines.images import load_image
from ocrvl_modal.engines.paddleformers.names import template_name
from ocrvl_modal.engines.paddleformers.slots import slots
from ocrvl_modal.engines.paddleformers.telling import tell
from ocrvl_modal.engines.trainer.lines import format_error
from ocrvl_modal.errors import OcrvlError

_TAILS = ("Assistant: ", "Assistant:\n")
_purpose = threading.local()


def register_templates() -> None:
    """Register a template for each prompt tail, with images as they are and with PaddleFormers' augmentation."""
    from paddleformers.datasets.template.formatter import EmptyFormatter, StringFormatter
    from paddleformers.datasets.template.template import register_template

    for augmentation in (False, True):
        for tail in _TAILS:
            written = slots(tail)
            register_template(
                name=template_name(tail, augmentation=augmentation),
                format_user=StringFormatter(slots=[written.user]),
                format_assistant=StringFormatter(slots=[written.assistant]),
                format_system=StringFormatter(slots=[written.system]),
                format_prefix=EmptyFormatter(slots=[written.prefix]),
                chat_sep=written.separator,
                suffix=[written.suffix],
                mm_plugin=_image_plugin(augmentation=augmentation),
            )


def _image_plugin(*, augmentation: bool) -> Any:
    """Return what turns an image's file into the model's input.

    PaddleFormers' own plugin augments always, in evaluation too, and takes transparent and 16-bit images as they come.
    """
    from paddleformers.datasets.template.mm_plugin import PaddleOCRVLPlugin

    class ImagePlugin(PaddleOCRVLPlugin):  # type: ignore[misc]
        def _img_download(self, url: str) -> Any:
            try:
                return load_image(Path(url))
            except OcrvlError as error:
                _give_up(error)

        def _preprocess_image(self, image: Any, **limits: Any) -> Any:
            # The image processor resizes; resizing here as well would do no more than that.
            return super()._preprocess_image(image, **limits) if augmentation and _in_training() else image

    return ImagePlugin(image_token="<|IMAGE_PLACEHOLDER|>", video_token=None, audio_token=None)


@contextmanager
def image_for(*, training: bool) -> Iterator[None]:
    """Say for whom images are prepared while the block runs, in this thread: both kinds are, at the same time."""
    _purpose.training = training
    try:
        yield
    finally:
        _purpose.training = False


def _in_training() -> bool:
    return bool(getattr(_purpose, "training", False))


def _give_up(error: OcrvlError) -> None:
    """End this process, which may be a data worker, with an error for the user: an exception would skip the sample."""
    tell(format_error(error))
    os._exit(1)
