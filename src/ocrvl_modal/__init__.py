"""Fine-tune, score and serve PaddleOCR-VL, on this machine or on Modal."""

from ocrvl_modal._version import __version__

__all__ = ["__version__"]
