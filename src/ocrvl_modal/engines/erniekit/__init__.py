"""The engine on ERNIEKit: the maintainers' documented full fine-tuning of PaddleOCR-VL 0.9B.

Sources: ``docs/paddleocr_vl_sft.md`` and ``run_ocr_vl_sft_16k.yaml`` of PaddlePaddle/ERNIE, its ``erniekit`` package at
release/v1.5, and paddleformers 0.4.1, which it trains with.
"""

from __future__ import annotations

from ocrvl_modal.engines.erniekit.engine import ErnieKitEngine

__all__ = ["ErnieKitEngine"]
