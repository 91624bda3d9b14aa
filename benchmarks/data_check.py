"""How `data check --images none` does beside a bare typed decode of the same file by msgspec, in as many processes.

The dataset is made by chance from one seed: rows of about 500 bytes, of which 82 % are text lines (six in eleven
English, the others Russian, Greek, Chinese, Bengali and French), 10 % OTSL tables of 3 to 10 rows, 4 % formulas and
4 % charts; every image has a name of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ocrvl_modal.cores import usable_cores

MEBIBYTE = 1 << 20
BLOCK = 5000
ALPHABETS = (
    *["etaoin shrdlu cmfwyp vbgkjq etaoin shrdlu etaoin, etaoin. THE 0123456789"] * 6,
    "оеаин тсрвл кмдпу яыьгз бчйхж шюцщэ оеаин тсрвл",
    "αοιετ σνηυρ πκμλω αοιετ σνηυρ θγδχφ βξζψ άέήίόύώ",
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说",
    "আইএক খগঘচ জটডণ তথদন পফবভ মযরল শষসহ আইএক তদনপ",
    "etaoin shrdlu éèàçùâêîôû etaoin shrdlu cmfwyp etaoin",
)
BARE = """
import sys, time
import msgspec

class Message(msgspec.Struct):
    role: str
    content: str

class Row(msgspec.Struct):
    messages: list[Message]
    images: list[str]

path, start, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
decode = msgspec.json.Decoder(Row).decode
with open(path, "rb") as stream:
    if start:
        stream.seek(start - 1)
        stream.readline()
    left = end - stream.tell()
    for line in stream:
        if left <= 0:
            break
        left -= len(line)
        decode(line)
"""
OURS = """
import json, sys
from pathlib import Path
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.whole import How, check_dataset
from ocrvl_modal.models import FAMILY

member = FAMILY["paddleocr-vl-1.6"]
demands = Demands(tuple(member.prompts.values()), member.pixels, 16384)
report = check_dataset(Path(sys.argv[1]), demands, How(images="none", processes=int(sys.argv[2])))
print(json.dumps([report.rows, report.counts]))
"""


def text(chance: random.Random) -> tuple[str, str]:
    alphabet = chance.choice(ALPHABETS)
    length = chance.randrange(120, 640) if alphabet.isascii() else chance.randrange(60, 280)
    letters = chance.choices(alphabet, k=length)
    return "OCR:", "".join(letters).strip() or "x"


def table(chance: random.Random) -> tuple[str, str]:
    columns = chance.randrange(3, 8)
    rows = []
    for _ in range(chance.randrange(3, 11)):
        cells = (
            f"<fcel>{chance.randrange(10_000) / 10}" if chance.random() < 0.9 else "<ecel>" for _ in range(columns)
        )
        rows.append("".join(cells) + "<nl>")
    return "Table Recognition:", "".join(rows)


def formula(chance: random.Random) -> tuple[str, str]:
    terms = (
        f"\\frac{{a_{{{chance.randrange(99)}}}}}{{b^{{2}}}} + \\sum_{{i=0}}^{{n}}"
        f" \\left( x_i - {chance.randrange(99)} \\right)"
        f" \\left( x_i - {chance.randrange(99)} \\right)"
        for _ in range(chance.randrange(1, 6))
    )
    return "Formula Recognition:", "\\[ " + " = ".join(terms) + " \\]"


def chart(chance: random.Random) -> tuple[str, str]:
    rows = (
        f"{year} | {chance.randrange(1000)} | {chance.random():.3f}"
        for year in range(2000, 2000 + chance.randrange(4, 20))
    )
    return "Chart Recognition:", "\n".join(["Year | Count | Share", *rows])


def make_dataset(path: Path, rows: int) -> None:
    """Write the dataset that the docstring of this file tells of."""
    chance = random.Random(5)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            luck = chance.random()
            make = table if luck < 0.10 else formula if luck < 0.14 else chart if luck < 0.18 else text
            prompt, target = make(chance)
            turns = [{"role": "user", "content": f"<image>{prompt}"}, {"role": "assistant", "content": target}]
            images = [f"./images/batch-{number // 1000:04d}/page-{number:08d}-line-{chance.randrange(99):02d}.png"]
            stream.write(json.dumps({"messages": turns, "images": images}, ensure_ascii=False) + "\n")


def bare(path: Path, processes: int) -> float:
    """Return the seconds in which so many processes decode the file, their start included."""
    size = path.stat().st_size
    bounds = [size * share // processes for share in range(processes + 1)]
    began = time.perf_counter()
    running = [
        subprocess.Popen([sys.executable, "-c", BARE, str(path), str(start), str(end)])
        for start, end in itertools.pairwise(bounds)
    ]
    assert [process.wait() for process in running] == [0] * processes
    return time.perf_counter() - began


def ours(path: Path, processes: int) -> tuple[float, int, list[object]]:
    """Return the seconds of a check, the start of all its processes included, their peak memory, and what it said."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", OURS, str(path), str(processes)], stdout=subprocess.PIPE)
    peak = [0]
    watcher = threading.Thread(target=watch_memory, args=(process, peak), daemon=True)
    watcher.start()
    printed = process.communicate()[0]
    seconds = time.perf_counter() - began
    watcher.join()
    assert process.returncode == 0
    return seconds, peak[0], json.loads(printed)


def watch_memory(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(resident_bytes, [process.pid, *children_of(process.pid)])))
        time.sleep(0.02)


def children_of(pid: int) -> Iterator[int]:
    try:
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except OSError:
        return


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds and shares with no other."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Pss:",)))


def measure(folder: Path, rows: int, pairs: int, processes: int) -> dict[str, object]:
    path = folder / f"{rows}.jsonl"
    make_dataset(path, rows)
    bare_s, ours_s, memory = [], [], []
    said: list[object] = []
    for _ in range(pairs):
        bare_s.append(bare(path, processes))
        seconds, peak, said = ours(path, processes)
        ours_s.append(seconds)
        memory.append(peak)
    size = path.stat().st_size
    path.unlink()
    return {
        "rows": rows,
        "size_mib": round(size / MEBIBYTE, 1),
        "bare_s": round(statistics.median(bare_s), 3),
        "check_s": round(statistics.median(ours_s), 3),
        "speed_of_bare": round(statistics.median(one / other for one, other in zip(bare_s, ours_s, strict=True)), 3),
        "peak_memory_mib": round(max(memory) / MEBIBYTE, 1),
        "found": said,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--processes", type=int, default=usable_cores())
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ocrvl-bench-", dir=os.environ.get("TMPDIR")) as folder:
        for rows in asked.rows:
            print(json.dumps(measure(Path(folder), rows, asked.pairs, asked.processes)), flush=True)


if __name__ == "__main__":
    main()
