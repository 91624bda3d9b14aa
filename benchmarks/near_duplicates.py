"""How the search for images that look alike grows with their number, on hashes of three sorts.

``lines`` are as real lines of text have them: a quarter of the bits set, and one in twenty is a copy of another with a
few bits changed. ``one_part`` share one of the parts that the search goes by, and differ in all others. ``crowded``
differ from one hash in up to 20 bits each, so that no part tells them apart. The exponent is that of the processor's
seconds in the number of hashes, between the smallest and the largest: 1 is linear, 2 is quadratic.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import time
from collections.abc import Callable, Sequence

from ocrvl_modal.data.checking.likeness import BITS, MOST_BITS, near_duplicates

CHANCE = random.Random(4)
COPIES = 20
MOST_CHANGED = 6


def sparse() -> int:
    """Return a hash of which about a quarter of the bits are set."""
    return CHANCE.getrandbits(BITS) & CHANCE.getrandbits(BITS)


def changed(value: int, bits: int) -> int:
    """Return a hash that differs in up to so many bits."""
    for _ in range(bits):
        value ^= 1 << CHANCE.randrange(BITS)
    return value


def lines(count: int) -> list[int]:
    hashes = [sparse() for _ in range(count - count // COPIES)]
    return hashes + [changed(CHANCE.choice(hashes), CHANCE.randrange(MOST_CHANGED)) for _ in range(count // COPIES)]


def one_part(count: int) -> list[int]:
    shared = (1 << BITS // (MOST_BITS + 1)) - 1
    return [sparse() & ~shared for _ in range(count)]


def crowded(count: int) -> list[int]:
    one = sparse()
    return [changed(one, 20) for _ in range(count)]


def main() -> None:
    """Measure all; `--sizes` makes it a small try."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    sizes = sorted(parser.parse_args().sizes)
    sorts: Sequence[Callable[[int], list[int]]] = (lines, one_part, crowded)
    report = {}
    for make in sorts:
        measured = {size: measure(make(size)) for size in sizes}
        first, last = (measured[size]["processor_seconds"] for size in (sizes[0], sizes[-1]))
        exponent = math.log(last / first) / math.log(sizes[-1] / sizes[0]) if len(sizes) > 1 else None
        report[make.__name__] = {**measured, "exponent": exponent and round(exponent, 2)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**report, "peak_memory_mib": round(peak)}, indent=2))


def measure(hashes: list[int]) -> dict[str, float]:
    """Search once; seconds of the processor are what the exponent is taken of, whatever else the machine does."""
    began, began_working = time.perf_counter(), time.process_time()
    groups = near_duplicates(hashes)
    worked, took = time.process_time() - began_working, time.perf_counter() - began
    return {"seconds": round(took, 2), "processor_seconds": round(worked, 2), "groups": len(groups)}


if __name__ == "__main__":
    main()
