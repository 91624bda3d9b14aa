"""Running checks side by side, each in a process of its own: one that hangs, crashes or eats memory fails alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ocrvl_modal
from ocrvl_modal import files
from ocrvl_modal.doctor.findings import Finding, Result, failed
from ocrvl_modal.doctor.registry import Check, mend, why_not
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.errors import of_the_system
from ocrvl_modal.jobs.process_marks import MARK, kill_marked
from ocrvl_modal.jobs.secrets import Redactor, environment_for_engine

OnDone = Callable[[Result], None]

_MODULE = "ocrvl_modal.doctor"
_KEPT_BYTES = 16 << 10
_LAST_LINES = 20
_POLL_S = 0.1
_DRAIN_WAIT_S = 2.0
_GIB = 1 << 30
_FOLDER = "doctor-"
_LEFT_OVER_AFTER_S = 3600.0
"""No check takes so long: a folder of that age is what a killed doctor left."""


def run_checks(
    checks: Sequence[Check], subject: Subject, *, at_once: int, on_done: OnDone, environment: Mapping[str, str]
) -> list[Result]:
    """Run checks, ``at_once`` at a time, those on GPUs one after another; return their results in their order.

    No secret of ``environment`` reaches a check or a result.
    """
    _remove_leftovers(subject.places.scratch)
    crew = _Crew(subject, at_once, environment)
    with ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
        try:
            futures = [pool.submit(crew.run, check) for check in checks]
            for future in futures:
                future.add_done_callback(lambda done: on_done(done.result()))
            # Python runs what a signal means when this thread wakes, and a signal may wake another thread.
            while wait(futures, timeout=_POLL_S).not_done:
                pass
            return [future.result() for future in futures]
        except BaseException:
            crew.stop()
            raise


def _remove_leftovers(scratch: Path) -> None:
    for folder in scratch.glob(f"{_FOLDER}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _LEFT_OVER_AFTER_S:
                shutil.rmtree(folder)


class _Crew:
    """What the checks of one subject share: places to run in, and a word that ends them all."""

    def __init__(self, subject: Subject, at_once: int, environment: Mapping[str, str]) -> None:
        self._subject = subject
        self._places = threading.Semaphore(at_once)
        self._gpu = threading.Lock()
        self._stopped = threading.Event()
        self._environment = {
            **environment_for_engine(environment, ()),
            "PYTHONPATH": _with_ours(environment.get("PYTHONPATH", "")),
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
        }
        self._redact = Redactor(environment, ())

    def stop(self) -> None:
        """End every check that runs, and begin no other."""
        self._stopped.set()

    def run(self, check: Check) -> Result:
        """Run one check when its turn has come."""
        reason = why_not(check, self._subject)
        if reason is not None:
            return self._result(check, reason, 0.0)
        with self._gpu if check.gpus else contextlib.nullcontext(), self._places:
            began = time.monotonic()
            try:
                with self._scratch(check) as folder:
                    finding, lines = self._run_in(check, folder)
            except OSError as error:
                told = of_the_system(error)
                finding, lines = failed(told.message, told.hint), []
            return self._result(check, finding, time.monotonic() - began, lines)

    @contextmanager
    def _scratch(self, check: Check) -> Iterator[Path]:
        scratch = self._subject.places.scratch
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f"{_FOLDER}{check.name}-", dir=scratch, ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)

    def _run_in(self, check: Check, folder: Path) -> tuple[Finding, list[str]]:
        subject_file, result_file, own = folder / "subject.json", folder / "finding.json", folder / "scratch"
        own.mkdir()
        files.write_text(subject_file, self._subject.model_copy(update={"scratch": own}).model_dump_json())
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, check.run, str(subject_file), str(result_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=own,
            env={**self._environment, MARK: str(folder)},
            start_new_session=True,
        )
        listener = _Listener(process)
        try:
            ended = self._watch(process, check)
        finally:
            _end(process, str(folder))
        lines = listener.last_lines()
        return self._finding(check, ended, process.returncode, result_file), lines

    def _watch(self, process: subprocess.Popen[bytes], check: Check) -> str:
        """Wait for the end of a check; return why it is to be ended where that does not come by itself."""
        deadline = time.monotonic() + check.timeout_s
        while process.poll() is None:
            if self._stopped.is_set():
                return "it was interrupted"
            if time.monotonic() > deadline:
                return f"it did not end within {check.timeout_s:g} seconds"
            if memory_of_session(process.pid) > check.memory_gib * _GIB:
                return f"it took more than {check.memory_gib:g} GiB of memory"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
        return ""

    def _finding(self, check: Check, ended: str, code: int, result_file: Path) -> Finding:
        mending = mend(check, self._subject)
        if not ended and result_file.is_file():
            finding = Finding.model_validate_json(result_file.read_text(encoding="utf-8"))
            unexplained = finding.verdict == "fail" and not finding.hint
            return finding.model_copy(update={"hint": mending}) if unexplained else finding
        if ended:
            return failed(ended, mending)
        if code < 0:
            return failed(f"it was killed by {_signal_name(-code)}", mending, signal=_signal_name(-code))
        return failed(f"it ended with exit code {code}, and without a word", mending, exit_code=code)

    def _result(self, check: Check, finding: Finding, seconds: float, lines: Sequence[str] = ()) -> Result:
        clean = Finding.model_validate(_redacted(finding.model_dump(), self._redact))
        shown = [self._redact(line) for line in lines][-_LAST_LINES:] if finding.verdict == "fail" else ()
        return Result.of(self._subject.name, check.name, clean, seconds, shown)


class _Listener:
    """Keeps the end of what a process prints, however much that is."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._kept = b""
        self._stream = process.stdout
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def last_lines(self) -> list[str]:
        """Return the last lines that are not empty; a process that got away may keep the pipe open."""
        self._thread.join(_DRAIN_WAIT_S)
        lines = self._kept.decode("utf-8", errors="replace").splitlines()
        return [line.rstrip() for line in lines if line.strip()]

    def _listen(self) -> None:
        assert self._stream is not None
        with self._stream:
            while chunk := os.read(self._stream.fileno(), _KEPT_BYTES):
                self._kept = (self._kept + chunk)[-_KEPT_BYTES:]


def memory_of_session(leader: int) -> int:
    """Return the bytes of memory that the processes of a session hold; 0 where ``/proc`` does not exist."""
    pages = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == leader:
                pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Leave no process of a check behind: neither those of its group nor those that left it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kill_marked(mark)
    if process.stdin is not None:
        process.stdin.close()


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return {
        "SIGSEGV": "SIGSEGV (a crash in binary code)",
        "SIGILL": "SIGILL (built for another processor)",
        "SIGBUS": "SIGBUS (shared memory or disk ran out)",
        "SIGKILL": "SIGKILL (most likely for want of memory)",
    }.get(name, name)


def _with_ours(path: str) -> str:
    """Return an import path on which checks find this package, wherever it was mounted."""
    ours = str(Path(ocrvl_modal.__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [ours, path]))


def _redacted(value: Any, redact: Redactor) -> Any:
    """Return plain data with secrets taken out of every text in it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redacted(each, redact) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(each, redact) for each in value]
    return value
