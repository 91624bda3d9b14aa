"""Small datasets for tests: rows of either form, and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.report import DatasetReport
from ocrvl_modal.data.checking.whole import How, check_dataset
from ocrvl_modal.models import FAMILY, PixelLimits

PIXELS = PixelLimits(2 * 28 * 28, 16 * 28 * 28)
PROMPTS = tuple(FAMILY["paddleocr-vl-1.6"].prompts.values())
DEMANDS = Demands(PROMPTS, PIXELS, 512)


def make_image(folder: Path, name: str = "a.png", size: tuple[int, int] = (168, 28), shade: int = 200) -> Path:
    path = folder / name
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def make_picture(path: Path, text: str) -> Path:
    """Draw something that a likeness can be taken of."""
    from PIL import ImageDraw

    image = Image.new("RGB", (300, 60), "white")
    ImageDraw.Draw(image).text((10, 5), text, fill="black", font_size=40)
    image.save(path)
    return path


def messages_row(target: str = "402 km", prompt: str = "OCR:", image: str = "a.png", **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"<image>{prompt}"}, {"role": "assistant", "content": target}]
    return {"messages": turns, "images": [image], **more}


def erniekit_row(target: str = "402 km", prompt: str = "OCR:", image: str = "a.png", **more: Any) -> dict[str, Any]:
    texts = [{"text": prompt, "tag": "mask"}, {"text": target, "tag": "no_mask"}]
    return {"image_info": [{"matched_text_index": 0, "image_url": image}], "text_info": texts, **more}


def write_rows(path: Path, *rows: Any) -> Path:
    """Write rows, each a value of JSON, or a line as it is."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def check(path: Path, demands: Demands = DEMANDS, **how: Any) -> DatasetReport:
    return check_dataset(path, demands, How(**how))


def kinds_of(report: DatasetReport) -> list[tuple[int | None, str]]:
    """Return the findings by line and kind, in the order of the lines."""
    found = [(finding.line, finding.kind) for group in report.findings for finding in group.examples]
    return sorted(found, key=lambda each: (each[0] or 0, each[1]))
