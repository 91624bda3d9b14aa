"""The trainers, behind one protocol."""

from __future__ import annotations

from ocrvl_modal.engines.base import Engine
from ocrvl_modal.errors import did_you_mean, usage_error

ENGINE_NAMES = ("transformers", "paddleformers", "erniekit")

LIBRARIES = {
    "transformers": ("torch", "transformers", "peft", "tokenizers", "jinja2"),
    "paddleformers": ("paddle", "paddleformers"),
}
"""What must be importable where an engine trains. ERNIEKit is no library: it looks for its own source tree."""


def get_engine(name: str) -> Engine:
    """Return a fresh engine of that name; raise a usage error for one that is unknown."""
    if name == "transformers":
        from ocrvl_modal.engines.transformers import TransformersEngine

        return TransformersEngine()
    if name == "paddleformers":
        from ocrvl_modal.engines.paddleformers.engine import PaddleFormersEngine

        return PaddleFormersEngine()
    if name == "erniekit":
        from ocrvl_modal.engines.erniekit import ErnieKitEngine

        return ErnieKitEngine()
    raise usage_error(f"there is no engine named '{name}'", did_you_mean(name, ENGINE_NAMES))
