"""Loaded by PaddleFormers in place of our registered file: writes the first batch of its real data pipeline to a file.

With ``SPY_BUILT_IN`` set, nothing of ours is registered, so that the pipeline is PaddleFormers' own.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ocrvl_modal.engines.paddleformers import registered


def dump(batch: list[Any], **_settings: Any) -> None:
    (sequence,) = batch[0]
    pixels = sequence.mm_inputs["pixel_values"]
    seen = {
        "tokens": [int(token) for token in sequence.token_ids],
        "labels": [int(label) for label in sequence.labels],
        "grid": [int(size) for size in sequence.mm_inputs["image_grid_thw"][0]],
        "pixels": [float(pixel) for pixel in pixels.numpy().reshape(-1)],
    }
    with open(os.environ["SPY_OUT"], "w") as stream:  # noqa: PTH123
        json.dump(seen, stream)
    os._exit(0)


if not os.environ.get("SPY_BUILT_IN"):
    registered.install()

from paddleformers.cli.train.sft import workflow  # noqa: E402

workflow.mm_collate_fn = dump
