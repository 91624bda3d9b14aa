"""How `ocrvl data push` does beside plain `tar` of the same files, and its second push beside its first.

Packing is from known digests of all images to the last shard in the store, with the shards' own digests; what comes
before it, reading rows and images, is told apart. `tar` writes one file and takes no digest. All read what the page
cache holds. A first and a second push of unchanged data are measured as their user would: the whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ocrvl_modal.backends.dataset_push import Asked, Desk, push
from ocrvl_modal.backends.store_folder import FolderStores
from ocrvl_modal.cores import usable_cores
from ocrvl_modal.data.shards.survey import survey
from ocrvl_modal.places import Places

MEBIBYTE = 1 << 20
OCRVL = Path(sys.executable).with_name("ocrvl")
KINDS = {"pages": (300_000, 4), "lines": (12_000, 1)}
"""Mean bytes of an image, a page as JPEG or a text line that was cut out of one, and how often `--size` is taken."""
SETTLED_S = 2.5


def make(folder: Path, size_mib: int, mean: int) -> int:
    """Write a dataset of random images; return how many."""
    (folder / "images").mkdir(parents=True)
    chance = random.Random(mean)
    count = size_mib * MEBIBYTE // mean
    with (folder / "train.jsonl").open("w") as rows:
        for number in range(count):
            path = folder / "images" / f"{number:07}.jpg"
            path.write_bytes(b"\xff\xd8\xff" + chance.randbytes(chance.randint(mean // 2, mean * 3 // 2)))
            turns = [
                {"role": "user", "content": "<image>OCR:"},
                {"role": "assistant", "content": f"text {number} " * 8},
            ]
            rows.write(json.dumps({"messages": turns, "images": [f"images/{path.name}"]}) + "\n")
    return count


def running_beside() -> int:
    """Return how many other processes or threads run at this moment: what they take, neither `tar` nor we have."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1


def tar(folder: Path, target: Path) -> float:
    began = time.perf_counter()
    subprocess.run(["tar", "--create", "--file", target, "--directory", folder, "."], check=True)
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def pack(folder: Path, home: Path) -> tuple[float, float]:
    """Return how long it takes to read rows and take digests of images, and then to pack the shards."""
    desk, rows = Desk.under(home), folder / "train.jsonl"
    began = time.perf_counter()
    survey(rows, desk.kept, lambda *_: None)
    surveyed = time.perf_counter()
    pushed = push(FolderStores(Places.under(home)), {"train": rows}, Asked("lines"), desk, lambda *_: None)
    packed = time.perf_counter()
    assert pushed.new
    shutil.rmtree(home)
    return surveyed - began, packed - surveyed


def command(folder: Path, home: Path) -> tuple[float, int, int]:
    """Run the command; return its seconds, its peak memory in bytes, and how many shards travelled."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(OCRVL), "data", "push", str(folder), "--backend", "local", "--json"],
        env={**os.environ, "OCRVL_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, printed
    return time.perf_counter() - began, usage.ru_maxrss * 1024, json.loads(printed)["data"]["new_shards"]


def measure(folder: Path, size_mib: int, mean: int, repeat: int) -> dict[str, float]:
    """Run `tar` and packing in turn, so that a slower moment of the machine touches both."""
    dataset = folder / "dataset"
    count = make(dataset, size_mib, mean)
    # A file that was written just now may change again within its time stamp, and is read once more.
    time.sleep(SETTLED_S)
    seconds: dict[str, list[float]] = {"tar": [], "survey": [], "pack": [], "first": [], "second": []}
    loads: list[int] = []
    memory = shards = again = 0
    for _ in range(repeat):
        loads.append(running_beside())
        seconds["tar"].append(tar(dataset, folder / "one.tar"))
        for which, part in zip(("survey", "pack"), pack(dataset, folder / "home"), strict=True):
            seconds[which].append(part)
        for which in ("first", "second"):
            taken, peak, travelled = command(dataset, folder / "home")
            seconds[which].append(taken)
            memory = max(memory, peak)
            shards, again = (travelled, again) if which == "first" else (shards, max(again, travelled))
        shutil.rmtree(folder / "home")
    shutil.rmtree(dataset)
    by_turn = list(zip(*seconds.values(), strict=True))
    return {
        "images": count,
        "shards": shards,
        **{f"{which}_s": round(statistics.median(taken), 3) for which, taken in seconds.items()},
        "packing_speed_of_tar": round(statistics.median(turn[0] / turn[2] for turn in by_turn), 2),
        "with_rows_and_digests_of_tar": round(statistics.median(turn[0] / (turn[1] + turn[2]) for turn in by_turn), 2),
        "second_of_first": round(statistics.median(turn[4] / turn[3] for turn in by_turn), 3),
        "shards_in_second": again,
        "peak_memory_mib": round(memory / MEBIBYTE, 1),
        "others_load": round(statistics.median(loads), 1),
    }


def main() -> None:
    """Measure all; `--size` and `--repeat` make it a small try."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the lines; pages are four times as much")
    parser.add_argument("--repeat", type=int, default=3, help="turns, of which medians are taken")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ocrvl-benchmark-") as name:
        report = {
            kind: measure(Path(name), asked.size * times, mean, asked.repeat) for kind, (mean, times) in KINDS.items()
        }
    told = {"size_mib": asked.size, "repeat": asked.repeat, "processors": usable_cores()}
    print(json.dumps({**told, **report}, indent=2))


if __name__ == "__main__":
    main()
