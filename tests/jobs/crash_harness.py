"""``python crash_harness.py FOLDER FIRST STRIDE [SECOND]``: a run that dies at one point after another.

For every point FIRST, FIRST + STRIDE, … a process submits a run and works on it, and dies just before that change on
disk; its engine is left behind. Then the run is started again as its user would, and what came of it is printed. With
SECOND the second start dies too, that many changes later, and a third one must finish.

Processes are forked, so that what a death costs is not the time to import.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from jobs.standin import House, export_nothing_but_the_weights
from ocrvl_modal import locks
from ocrvl_modal.backends.runs_view import find_run
from ocrvl_modal.jobs import engine_process, supervision, train
from ocrvl_modal.runs.metrics import MetricsLog, Row, read_rows

RUN = "a"
DIED = 9
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "subprocess.Popen"}


class Death:
    """Ends this process just before the change on disk that has the number ``at``."""

    def __init__(self, home: Path, at: int) -> None:
        self._home = str(home)
        self._at = at
        self._seen = 0

    def install(self) -> None:
        """Watch all changes from now on; an appended row may also be cut in two."""
        append = MetricsLog.append

        def appending(log: MetricsLog, row: Row) -> None:
            self._count()
            if self._seen + 1 == self._at:
                with log._path.open("a") as stream:
                    stream.write(json.dumps(row)[:20])
            self._count()
            append(log, row)

        MetricsLog.append = appending  # type: ignore[method-assign]
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and self._writes(arguments)):
            self._count()

    def _writes(self, arguments: tuple[Any, ...]) -> bool:
        path, _, flags = arguments
        return str(path).startswith(self._home) and bool(flags & (os.O_WRONLY | os.O_RDWR))

    def _count(self) -> None:
        self._seen += 1
        if self._seen == self._at:
            os._exit(DIED)


def in_a_process(act: Callable[[], None]) -> int:
    """Do something in a process of its own and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        try:
            act()
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, it must not become the parent's
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start(house: House, dies_at: int | None) -> int:
    """Submit the run and work on it, as the command and its supervisor do."""

    def act() -> None:
        if dies_at is not None:
            Death(house.home, dies_at).install()
        house.submit(RUN)
        if house.backend.requests:
            house.work()

    return in_a_process(act)


def what_came_of_it(house: House) -> dict[str, Any]:
    """All that must be as if nothing had happened."""
    layout, record = house.layout(RUN), house.record(RUN)
    return {
        "state": record.state,
        "step": record.step,
        "error": record.error,
        "steps": house.steps(RUN),
        "evaluated": [row["step"] for row in read_rows(layout.evaluations)],
        "learned": house.learned(RUN),
        "ends": [attempt.ended_as for attempt in record.attempts],
        "leftovers": [path.name for folder in (layout.root, layout.checkpoints) for path in folder.glob(".*.tmp")],
        "reserve": layout.reserve.exists(),
        "engine": locks.is_held(layout.engine_lock),
    }


def main() -> None:
    folder, point, stride = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    second = int(sys.argv[4]) if len(sys.argv) > 4 else None
    train.export_model = export_nothing_but_the_weights  # type: ignore[assignment]
    train.check_prompt_identity = lambda *_: None
    locks._PROBE_GRACE_S = 0.02
    engine_process._DRAIN_WAIT_S = 0.3
    # Only what is certain to be written is a point to die at, so that the points are the same each time.
    supervision.HEARTBEAT_S = 3600.0
    codes = [DIED]
    while codes[0] == DIED:
        house = House(folder / str(point))
        train.get_engine = lambda _: house.engine  # noqa: B023
        house.furnish()
        codes = [start(house, point)]
        view = find_run(house.backend, RUN)
        if second is not None:
            codes.append(start(house, second))
        codes.append(start(house, None))
        shown = view.state if view else None
        print(json.dumps({"point": point, "codes": codes, "shown": shown, **what_came_of_it(house)}), flush=True)
        point += stride


if __name__ == "__main__":
    main()
