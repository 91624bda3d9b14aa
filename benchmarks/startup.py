"""How long ``ocrvl --help`` takes, beside ``modal --help``: medians of pairs of runs, and their ratio."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

PAIRS = 15
BIN = Path(sys.executable).parent


def seconds(command: str, *arguments: str) -> float:
    """Run one command to its end and return how long it took."""
    began = time.perf_counter()
    subprocess.run([str(BIN / command), *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure in pairs, so that a slower moment of the machine touches both."""
    seconds("ocrvl", "--help"), seconds("modal", "--help")
    pairs = [(seconds("ocrvl", "--help"), seconds("modal", "--help")) for _ in range(PAIRS)]
    report = {
        "pairs": PAIRS,
        "ocrvl_help_s": round(statistics.median(ours for ours, _ in pairs), 4),
        "modal_help_s": round(statistics.median(theirs for _, theirs in pairs), 4),
        "ratio": round(statistics.median(ours / theirs for ours, theirs in pairs), 3),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
