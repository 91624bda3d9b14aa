"""How `data check --images all --headers-only` does on many small images, beside a bare loop of ``Image.open``.

The images are lines of text, half of them PNG and half JPEG. The bare loop opens each with Pillow and reads its size.
``function`` is the function that looks at one image, ``check`` the whole check of the dataset with its rows, both in
one process beside a loop in the same process. ``command`` is the installed command, from its start to its end, beside a
loop in as many processes as the command uses. Runs take turns, and the median of their ratios is given.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ocrvl_modal.backends.checking import demands_of
from ocrvl_modal.cores import usable_cores
from ocrvl_modal.data.checking.images import look_at_image
from ocrvl_modal.data.checking.whole import How, check_dataset
from ocrvl_modal.models import FAMILY

OCRVL = Path(sys.executable).with_name("ocrvl")
BARE = """
import sys
from PIL import Image

with open(sys.argv[1]) as names:
    for name in names.read().split():
        with Image.open(name) as image:
            image.size
"""
LETTERS = "etaoinshrdlu cmfwyp vbgkjqxz"


def make_dataset(folder: Path, count: int) -> list[Path]:
    """Write ``train.jsonl`` and its images; return the images."""
    chance = random.Random(11)
    font = ImageFont.load_default(size=22)
    images, rows = [], []
    (folder / "images").mkdir()
    for number in range(count):
        text = "".join(chance.choice(LETTERS) for _ in range(chance.randint(8, 40))).strip() or "x"
        image = Image.new("RGB", (int(font.getlength(text)) + 12, 32), "white")
        ImageDraw.Draw(image).text((6, 3), text, fill="black", font=font)
        path = folder / "images" / f"{number:05d}.{'png' if number % 2 else 'jpg'}"
        image.save(path)
        images.append(path)
        turns = [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": text}]
        rows.append(json.dumps({"messages": turns, "images": [f"images/{path.name}"]}))
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n")
    return images


def bare_loop(folder: Path, images: list[Path], processes: int) -> float:
    """Open all images in as many processes; return the seconds that it takes, with the start of Python."""
    lists = []
    for share in range(processes):
        names = folder / f"share-{share}"
        names.write_text("\n".join(map(str, images[share::processes])))
        lists.append(names)
    began = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", BARE, str(names)]) for names in lists]
    assert not any(process.wait() for process in running)
    return time.perf_counter() - began


def check(folder: Path) -> float:
    """Check the dataset by the installed command; return the seconds that it takes."""
    command = [OCRVL, "data", "check", folder / "train.jsonl", "--images", "all", "--headers-only", "--json"]
    began = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    report = json.loads(done.stdout)["data"]
    assert report["valid"], report
    assert report["vision_tokens"]["total"]
    return took


def in_this_process(images: list[Path], ours: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of a bare loop and of ours."""
    began = time.perf_counter()
    for path in images:
        with Image.open(path) as image:
            _ = image.size
    between = time.perf_counter()
    ours()
    return between - began, time.perf_counter() - between


def look_at_all(images: list[Path]) -> None:
    for path in images:
        look_at_image(path, FAMILY["paddleocr-vl-1.6"].pixels, decode=False)


def main() -> None:
    """Measure all; `--images` and `--repeat` make it a small try."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=5, help="pairs of runs, of which medians are taken")
    asked = parser.parse_args()
    processes = usable_cores()
    with tempfile.TemporaryDirectory(prefix="ocrvl-benchmark-") as name:
        folder = Path(name)
        images = make_dataset(folder, asked.images)
        bare_loop(folder, images, processes)
        command = [(bare_loop(folder, images, processes), check(folder)) for _ in range(asked.repeat)]
        member = FAMILY["paddleocr-vl-1.6"]
        how = How("all", decode=False, processes=1)
        demands = demands_of(member, 4096)
        whole = partial(check_dataset, folder / "train.jsonl", demands, how)
        function = [in_this_process(images, partial(look_at_all, images)) for _ in range(asked.repeat)]
        checks = [in_this_process(images, whole) for _ in range(asked.repeat)]
    report = {
        "images": asked.images,
        "processes": processes,
        "function": {**seconds(function), "of_bare_speed": ratio(function)},
        "check": {**seconds(checks), "of_bare_speed": ratio(checks)},
        "command": {**seconds(command), "of_bare_speed": ratio(command)},
    }
    print(json.dumps(report, indent=2))


def seconds(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Return the medians of bare loops and of ours."""
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"bare_s": round(bare, 3), "ocrvl_s": round(ours, 3)}


def ratio(pairs: list[tuple[float, float]]) -> float:
    """Return the median of how fast ours is in parts of the bare loop's speed."""
    return round(statistics.median(bare / ours for bare, ours in pairs), 2)


if __name__ == "__main__":
    main()
