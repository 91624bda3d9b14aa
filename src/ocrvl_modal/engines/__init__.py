"""The trainers, behind one protocol."""

from __future__ import annotations

from ocrvl_modal.engines.base import Engine
from ocrvl_modal.errors import did_you_mean, usage_error

ENGINE_NAMES = ("transformers", "paddleformers", "erniekit")


def get_engine(name: str) -> Engine:
    """Return the engine called ``name``; raise a usage error for one that is unknown or not built in yet."""
    if name == "transformers":
        from ocrvl_modal.engines.transformers import TransformersEngine

        return TransformersEngine()
    if name in ENGINE_NAMES:
        raise usage_error(f"this version of ocrvl cannot run the engine '{name}' yet", "--engine transformers")
    raise usage_error(f"there is no engine named '{name}'", did_you_mean(name, ENGINE_NAMES))
