"""Small datasets with images that differ, for whatever shapes datasets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

from PIL import Image

OCR, TABLE = "OCR:", "Table Recognition:"


def picture(path: Path, look: int, size: tuple[int, int] = (64, 48)) -> Path:
    """Write an image of coarse noise; the same ``look`` looks the same at any size and in any format."""
    random = Random(look)
    coarse = Image.frombytes("L", (8, 6), bytes(random.randrange(256) for _ in range(48)))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize(size, Image.Resampling.BICUBIC).convert("RGB").save(path)
    return path


def messages(image: str, target: str, prompt: str = OCR) -> str:
    turns = [{"role": "user", "content": f"<image>{prompt}"}, {"role": "assistant", "content": target}]
    return json.dumps({"messages": turns, "images": [image]}, ensure_ascii=False)


def erniekit(image: str, target: str, prompt: str = OCR) -> str:
    return json.dumps(
        {
            "image_info": [{"matched_text_index": 0, "image_url": image}],
            "text_info": [{"text": prompt, "tag": "mask"}, {"text": target, "tag": "no_mask"}],
        },
        ensure_ascii=False,
    )


def dataset(path: Path, rows: Iterable[str], *, drawn: bool = True) -> Path:
    """Write rows to a file and, where ``drawn``, an image of its own for each that they name and that is not there."""
    lines = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for line in lines if drawn else []:
        for image in images_of(line):
            if not (path.parent / image).exists():
                picture(path.parent / image, look=look_of(image))
    return path


def documents(folder: Path, count: int, pages: int = 4, *, drawn: bool = False) -> Path:
    """A dataset of documents: each a folder of pages, every fourth page a table."""
    rows = [
        messages(
            f"images/doc-{document:03d}/page-{page}.png", f"text {document} {page}", TABLE if page % 4 == 3 else OCR
        )
        for document in range(count)
        for page in range(pages)
    ]
    return dataset(folder / "all.jsonl", rows, drawn=drawn)


def rows_in(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def images_of(line: str) -> list[str]:
    row = json.loads(line)
    return row.get("images") or [info["image_url"] for info in row.get("image_info", [])]


def target_of(line: str) -> str:
    row = json.loads(line)
    return str(row["messages"][1]["content"] if "messages" in row else row["text_info"][1]["text"])


def look_of(image: str) -> int:
    return int.from_bytes(image.encode(), "little")
