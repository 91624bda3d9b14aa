"""How long ``ocrvl image plan`` takes for all images, beside an empty Python: medians of pairs of runs, their ratio."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAIRS = 15
OCRVL = Path(sys.executable).with_name("ocrvl")


def seconds(home: str, *command: str) -> float:
    """Run one command to its end and return how long it took."""
    began = time.perf_counter()
    subprocess.run(command, env={**os.environ, "OCRVL_HOME": home}, cwd=home, capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure in pairs, so that a slower moment of the machine touches both."""
    plan, nothing = (str(OCRVL), "image", "plan"), (sys.executable, "-c", "pass")
    with tempfile.TemporaryDirectory(prefix="ocrvl-bench-") as home:
        seconds(home, *plan), seconds(home, *nothing)
        pairs = [(seconds(home, *plan), seconds(home, *nothing)) for _ in range(PAIRS)]
    report = {
        "pairs": PAIRS,
        "image_plan_s": round(statistics.median(ours for ours, _ in pairs), 4),
        "empty_python_s": round(statistics.median(theirs for _, theirs in pairs), 4),
        "ratio": round(statistics.median(ours / theirs for ours, theirs in pairs), 2),
        "aim_s": 0.5,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
