"""The embedded default: jobs in processes of this machine, the stores under one folder."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrvl_modal import files, locks
from ocrvl_modal.backends.base import OnProgress, Pulse, RunSlot, StagedDataset, StopKind, Stores
from ocrvl_modal.backends.dataset_store import find_stored, load_index
from ocrvl_modal.backends.store_folder import FolderStores
from ocrvl_modal.cores import usable_cores
from ocrvl_modal.engines import LIBRARIES
from ocrvl_modal.engines.libraries import is_installed
from ocrvl_modal.engines.processes import count_processes
from ocrvl_modal.errors import OcrvlError, not_found, usage_error
from ocrvl_modal.gpus import visible_gpus
from ocrvl_modal.jobs.answers import read_answer
from ocrvl_modal.jobs.progress import parse_progress
from ocrvl_modal.models import FamilyMember, get_member, identify_folder
from ocrvl_modal.places import Places, is_place
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.record import ACTIVE, RunRecord, read_record

if TYPE_CHECKING:
    from ocrvl_modal.recipe_schema import TrainRecipe

_LAST_LINES = 15
_POLL_S = 0.05
_END_WAIT_S = 10.0
_READING = ("torch", "transformers", "tokenizers", "jinja2")
_WITHOUT_LIBRARIES = (
    "check",
    "doctor",
    "download_dataset",
    "fetch_wheel",
    "localize_dataset",
    "verify_dataset",
    "verify_model",
)
"""Jobs that find out what is missing, or need none of it."""
_INSTALL = "pip install 'ocrvl-modal[local]'"
_INSTALL_PADDLE = "in an environment of its own (python3 -m venv paddle): pip install 'ocrvl-modal[paddle]'"


class LocalBackend:
    """Implements :class:`ocrvl_modal.backends.base.Backend` on this machine."""

    name = "local"
    poll_s = 0.25
    stops_on_interrupt = True

    def __init__(self, home: Path) -> None:
        self.places = Places.under(home)
        self.stores: Stores = FolderStores(self.places)

    def where(self, store: str) -> str:
        """Return the store's folder."""
        return str(self.places.store(store))

    def describe(self, recipe: TrainRecipe) -> str:
        """Return, for the plan, what this machine has."""
        gpu = recipe.hardware.gpu
        found = visible_gpus()
        cores = f"{usable_cores()} CPU cores"
        text = f"this machine: {', '.join(found)}" if found else f"this machine: {cores}, no GPU"
        return f"{text} ({gpu} is asked for on Modal only)" if gpu else text

    def require_ready(self, engine: str | None = None) -> None:
        """Require the libraries that read on this machine, and those that train with ``engine``."""
        needed = dict.fromkeys((*_READING, *LIBRARIES.get(engine or "", ())))
        missing = [name for name in needed if not is_installed(name)]
        if missing:
            raise OcrvlError(
                f"training and reading on this machine need {', '.join(missing)}",
                _INSTALL_PADDLE if engine == "paddleformers" else _INSTALL,
            )

    def with_hardware(self, recipe: TrainRecipe, member: FamilyMember) -> TrainRecipe:  # noqa: ARG002
        """Return the recipe as it is: a run takes what this machine has."""
        return recipe

    def devices(self, recipe: TrainRecipe) -> int:
        """Return how many processes a run trains with: one for each GPU that is seen, or one."""
        return count_processes(recipe)

    def readable_path(self, reference: str, on_progress: OnProgress | None = None) -> Path:
        """Return where a dataset lies; raise *not found*, with the command that fills it, for an empty place."""
        stored = find_stored(self.stores, reference)
        if stored is not None:
            from ocrvl_modal.jobs.datasets import readable

            return readable(self.places, str(stored), on_progress)
        path = self.places.resolve(reference)
        if is_place(reference) and not path.exists():
            raise not_found(f"there is no {reference} in the data store", _put_hint(reference))
        return path

    def identify_model(self, name: str) -> FamilyMember:
        """Return the member that a model's folder belongs to."""
        folder = self.places.resolve(name)
        return identify_folder(folder) if folder.is_dir() else get_member(name)

    def stage_datasets(self, datasets: Mapping[str, str], on_progress: OnProgress) -> dict[str, StagedDataset]:  # noqa: ARG002
        """Return the datasets' references: jobs read files where they lie, and unpack what is stored."""
        return {split: self._staged(reference) for split, reference in datasets.items()}

    def _staged(self, reference: str) -> StagedDataset:
        stored = find_stored(self.stores, reference)
        if stored is not None:
            return StagedDataset(str(stored), load_index(self.stores, stored).splits[stored.split].sha256)
        path = self.readable_path(reference)
        return StagedDataset(reference if is_place(reference) else str(path.absolute()))

    def call(
        self,
        job: str,
        request: dict[str, Any],
        *,
        on_progress: OnProgress,
        gpu: str | None = None,  # noqa: ARG002
        image: str | None = None,  # noqa: ARG002
        secrets: tuple[str, ...] = (),  # noqa: ARG002
        local_secrets: tuple[str, ...] = (),  # noqa: ARG002
    ) -> dict[str, Any]:
        """Run a short job in a process of its own, so that what it loads goes when it ends."""
        if job not in _WITHOUT_LIBRARIES:
            self.require_ready()
        self.places.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="call-", dir=self.places.scratch) as scratch:
            request_file, result_file = Path(scratch, "request.json"), Path(scratch, "result.json")
            files.write_json(request_file, {**request, "places": self.places.model_dump(mode="json")})
            process = subprocess.Popen(
                _worker(job, request_file, "--result", str(result_file)),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            try:
                last_lines = _relay(process, on_progress)
            finally:
                _end(process)
            return _read_result(job, result_file, process.returncode, last_lines)

    @contextmanager
    def reserve(self, name: str) -> Iterator[RunSlot]:
        """Hold the run's lock; the spawned job inherits it."""
        layout = RunLayout.of(self.places.outputs, name)
        descriptor = locks.acquire(layout.lock) or _wait_for_the_end(layout)
        if descriptor is None:
            raise usage_error(f"another process works on run '{name}'", f"ocrvl runs wait {name}")
        try:
            yield _LocalSlot(layout, self.places, descriptor)
        finally:
            os.close(descriptor)

    def pulse(self, record: RunRecord) -> Pulse:
        """Say whether the run's lock is held."""
        return Pulse(locks.is_held(RunLayout.of(self.places.outputs, record.name).lock))

    def stop(self, record: RunRecord, kind: StopKind) -> None:
        """Signal the supervisor; it saves, then stops."""
        supervisor = self._supervisor_of(record.name)
        if supervisor is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGTERM if kind == "cancel" else signal.SIGINT)

    def _supervisor_of(self, name: str) -> int | None:
        """Return the process that works on a run; one that was just started has yet to write down its number."""
        layout = RunLayout.of(self.places.outputs, name)
        while locks.is_held(layout.lock):
            record = read_record(layout.record)
            attempt = record.attempt if record else None
            if attempt and attempt.call_id and attempt.ended_at is None:
                return int(attempt.call_id)
            time.sleep(_POLL_S)
        return None


def _wait_for_the_end(layout: RunLayout) -> int | None:
    """Lock a run whose record says that it has ended: its process is about to end too, which takes it a moment."""
    deadline = time.monotonic() + _END_WAIT_S
    while time.monotonic() < deadline:
        record = read_record(layout.record)
        if record is None or record.state in ACTIVE:
            return None
        descriptor = locks.acquire(layout.lock)
        if descriptor is not None:
            return descriptor
    return None


class _LocalSlot:
    """The run's lock, ready to be handed to the supervisor."""

    def __init__(self, layout: RunLayout, places: Places, descriptor: int) -> None:
        self._layout = layout
        self._places = places
        self._descriptor = descriptor

    def prepare(self, recipe: TrainRecipe, member: FamilyMember, say: Callable[[str], None]) -> str:  # noqa: ARG002
        """Return nothing: a process of this machine needs no app."""
        return ""

    def spawn(self, request: dict[str, Any], attempt: int) -> str:
        """Start the supervisor in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it."""
        there = self._layout.attempt(attempt)
        files.write_json(there.request, {**request, "places": self._places.model_dump(mode="json")})
        with there.supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                _worker("train", there.request),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._descriptor,),
                start_new_session=True,
            )
        return str(process.pid)


def _worker(job: str, request: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "ocrvl_modal.backends.worker", job, str(request), *more]


def _relay(process: subprocess.Popen[str], on_progress: OnProgress) -> list[str]:
    """Pass a job's progress on while it runs; return the last other lines that it printed."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    assert process.stderr is not None
    for line in process.stderr:
        progress = parse_progress(line)
        if progress:
            on_progress(*progress)
        elif line.strip():
            last.append(line.rstrip())
    process.wait()
    return list(last)


def _end(process: subprocess.Popen[str]) -> None:
    """Leave no process behind, whatever ended the call."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_END_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stderr):
        if stream is not None:
            stream.close()


def _read_result(job: str, result_file: Path, code: int, last_lines: list[str]) -> dict[str, Any]:
    if not result_file.is_file():
        shown = "\n".join(last_lines)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise OcrvlError(f"the job '{job}' {how}\n{shown}".rstrip(), "try again; if it stays, report these lines")
    return read_answer(json.loads(result_file.read_text(encoding="utf-8")))


def _put_hint(reference: str) -> str:
    quoted = shlex.quote(reference)
    if Path(reference).exists():
        return f"/data/… names the data store, not this machine's folder: ocrvl volume put {quoted} {quoted}"
    return f"ocrvl volume ls /data, or ocrvl volume put FILE {quoted}"


def kill_run(places: Places, record: RunRecord) -> None:
    """End a run's supervisor and engine with SIGKILL, as a power cut would, and wait until they are gone.

    The quickstart does this to show what survives; nothing else should.
    """
    layout = RunLayout.of(places.outputs, record.name)
    attempt = record.attempt
    if attempt is None or not attempt.call_id or not locks.is_held(layout.lock):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(attempt.call_id), signal.SIGKILL)
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int(layout.engine_group.read_text(encoding="utf-8")), signal.SIGKILL)
    while locks.is_held(layout.lock):
        time.sleep(0.02)
