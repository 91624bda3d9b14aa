"""The engine on PaddleFormers: the maintainers' trainer of 1.5, 1.6 and of every adapter."""

from __future__ import annotations

from ocrvl_modal.engines.paddleformers.engine import PaddleFormersEngine

__all__ = ["PaddleFormersEngine"]
