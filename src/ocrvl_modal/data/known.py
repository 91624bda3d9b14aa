"""Datasets that the maintainers published, by a short name.

Addresses from PaddleFormers' and ERNIE's own documentation of fine-tuning PaddleOCR-VL.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_BUCKET = "https://paddleformers.bj.bcebos.com/datasets"

KNOWN_DATASETS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "bengali": MappingProxyType(
            {
                "train.jsonl": f"{_BUCKET}/ocr_vl_sft-train_Bengali.jsonl",
                "test.jsonl": f"{_BUCKET}/ocr_vl_sft-test_Bengali.jsonl",
            }
        ),
        "tibetan": MappingProxyType(
            {
                "train.jsonl": f"{_BUCKET}/ocr_vl_sft-train_bo.jsonl",
                "validation.jsonl": f"{_BUCKET}/ocr_vl_sft-eval_bo.jsonl",
            }
        ),
    }
)
"""The address of each file, by the name that it gets here."""
