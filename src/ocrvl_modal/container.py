"""What runs around a job inside a Modal container: volumes are committed, and the ways to be stopped are translated.

Modal imports this module in the container by its name and calls one of its functions, so it imports at its top only
what every image has.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocrvl_modal.jobs import train as train_job
from ocrvl_modal.jobs.answers import answer_of
from ocrvl_modal.jobs.host import Host, HostTimeIsUp
from ocrvl_modal.places import split_place
from ocrvl_modal.volumes import PLACES, VOLUMES


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Work on a training run; see :func:`ocrvl_modal.jobs.train.run`.

    A preemption (``KeyboardInterrupt``), a cancel (``InputCancellation``) and the near end of the call's time are
    raised again once the run is saved: Modal starts a call anew only when it sees it end so. Everything else is
    returned, since Modal would try a call that raises again and again, and the run's record says all.
    """
    import modal
    from modal.exception import InputCancellation

    host = Host(
        call_id=modal.current_function_call_id() or "",
        commit=_committer("outputs"),
        cancellations=(InputCancellation,),
        gives_secrets=True,
        restarts=True,
        longest_s=request.pop("longest_s", None),
        own_disk=PLACES.scratch,
        fetch=_fetch,
    )
    try:
        return train_job.run({**request, "places": PLACES.model_dump(mode="json")}, host)
    except HostTimeIsUp:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, another attempt would meet it again
        # The record holds it already; the traceback is for the app's log.
        traceback.print_exc()
        return {"state": "failed", "error": f"{type(error).__name__}: {error}"}


def call(job: str, request: dict[str, Any]) -> dict[str, Any]:
    """Run a short job and return its answer, after what it wrote is kept."""
    answer = answer_of(job, {**request, "places": PLACES.model_dump(mode="json")})
    if answer.get("interrupted"):
        raise KeyboardInterrupt
    for store, volume in VOLUMES.items():
        if Path(volume.mount).exists():
            _committer(store)()
    return answer


def _fetch(place: str, target: Path) -> None:
    """Copy a file of a store from Modal's own servers, whatever the mount makes of it."""
    from modal.exception import Error

    store, inside = split_place(place)
    try:
        with target.open("wb") as stream:
            VOLUMES[store].open().read_file_into_fileobj(str(inside), stream)
    except Error as error:
        raise OSError(f"{place} cannot be had from Modal: {error}") from error


def _committer(store: str) -> Callable[[], None]:
    """Return a function that commits a store's volume. A commit that fails costs nothing but the next one's time."""
    from modal.exception import Error

    volume = VOLUMES[store].open()

    def commit() -> None:
        try:
            volume.commit()
        except (Error, RuntimeError, OSError) as error:
            print(f"the volume {VOLUMES[store].name} was not committed: {error}", file=sys.stderr, flush=True)

    return commit
