"""``python push_harness.py FOLDER FIRST STRIDE [PROCESSES]``: pushes that die at one point after another.

For every point FIRST, FIRST + STRIDE, … a process pushes a dataset, and dies just before that change on disk. Then the
same is pushed again, and what came of it is printed. With PROCESSES so many do the work, little as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from data.stored import Shelf, make_dataset
from jobs.crash_harness import DIED, Death, in_a_process
from ocrvl_modal.backends.dataset_store import list_datasets, stored_shards
from ocrvl_modal.data.shards import effort, members

SHARDS_LATER = 3


def main() -> None:
    folder, point, stride = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if len(sys.argv) > 4:
        effort._MUCH_BYTES = 0
        effort.usable_cores = lambda: int(sys.argv[4])
    # Shards of a few images each.
    members.Sizes.__init__.__defaults__ = (4 << 10, 8 << 10, 24 << 10)  # type: ignore[misc]
    dataset = make_dataset(folder / "lines", range(16), validation=range(12, 20))
    code = DIED
    while code == DIED:
        shelf = Shelf(folder / str(point))

        def die(shelf: Shelf = shelf, at: int = point) -> None:
            Death(shelf.home, at).install()
            shelf.push(dataset)

        code = in_a_process(die)
        arrived = len(stored_shards(shelf.stores))
        listed = len(list_datasets(shelf.stores)[0])
        pushed = shelf.push(dataset)
        home = shelf.places.scratch
        print(
            json.dumps(
                {
                    "code": code,
                    "listed": listed,
                    "arrived": arrived,
                    "new": len(pushed.new),
                    "shards": len(pushed.index.shards),
                    "pulled": sorted(shelf.pull(pushed.index, shelf.home / "out")),
                    "left": [path.name for path in home.iterdir()] if home.is_dir() else [],
                }
            ),
            flush=True,
        )
        point += stride


if __name__ == "__main__":
    main()
