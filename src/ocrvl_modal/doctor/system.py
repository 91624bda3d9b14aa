"""Checks of what every machine has: Python, shared memory, a disk."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from ocrvl_modal import files
from ocrvl_modal.cores import usable_cores
from ocrvl_modal.doctor.findings import Finding, failed, passed, skipped
from ocrvl_modal.doctor.subject import Subject, rebuild
from ocrvl_modal.models import DEFAULT_MODEL, FAMILY
from ocrvl_modal.recipes import recipe_from

OLDEST_PYTHON = (3, 10)

SHARED_MEMORY = Path("/dev/shm")
_FLOATS_PER_PIXEL_BYTES = 3 * 4
_BATCHES_AHEAD = 2
"""Batches that each process prepares ahead, in torch and in Paddle."""
_MOST_WRITTEN_BYTES = 512 << 20

DISK_BYTES = 256 << 20
SLOW_MB_PER_S, TOO_SLOW_MB_PER_S = 50.0, 20.0
"""Under the first a checkpoint of 11 GB takes four minutes, under the second ten."""
_CHUNK_BYTES = 4 << 20
_LONGEST_WRITE_S = 30.0
_MEGABYTE = 1e6


def python(subject: Subject) -> Finding:
    """Compare Python's version with the oldest that works, and with that of the image."""
    running = platform.python_version()
    evidence = {
        "version": running,
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu_cores": usable_cores(),
        "memory_gib": _memory_gib(),
    }
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return failed(f"Python {running} is older than {oldest}", f"install Python {oldest} or newer", **evidence)
    if subject.python and not f"{running}.".startswith(f"{subject.python}."):
        return failed(
            f"Python {running}, and the image is made with {subject.python}",
            rebuild(subject.name),
            **evidence,
        )
    return passed(f"Python {running}", **evidence)


def shm(subject: Subject) -> Finding:  # noqa: ARG001 - the same everywhere
    """Compare the free shared memory with what the processes that prepare images put there, and write as much.

    Batches of the largest images count, of the default model and recipe: a process that finds no room dies of a bus
    error, in the middle of a run.
    """
    if not SHARED_MEMORY.is_dir():
        return skipped(f"this system has no {SHARED_MEMORY}")
    batch = recipe_from({}).batch
    each = _BATCHES_AHEAD * batch.per_device * FAMILY[DEFAULT_MODEL].pixels.maximum * _FLOATS_PER_PIXEL_BYTES
    free = files.free_bytes(SHARED_MEMORY)
    return judge_shared_memory(free, each, batch.num_workers, SHARED_MEMORY)


def judge_shared_memory(free: int, each: int, workers: int, folder: Path) -> Finding:
    """Return the verdict on ``free`` bytes in ``folder``, of which each of ``workers`` processes takes ``each``."""
    evidence = {"free_mib": free >> 20, "mib_per_worker": each >> 20, "workers": workers}
    fitting = free // each
    if fitting < workers:
        return failed(
            f"{free >> 20} MiB of shared memory are free, and {workers} processes take up to"
            f" {workers * each >> 20} MiB",
            f"--set batch.num_workers={fitting}; or a container with more, such as docker run --shm-size=2g",
            **evidence,
        )
    written = min(workers * each, _MOST_WRITTEN_BYTES)
    try:
        _fill(folder, written)
    except OSError as error:
        return failed(
            f"{free >> 20} MiB of shared memory are free, they say, and {written >> 20} MiB cannot be written: {error}",
            "--set batch.num_workers=0",
            **evidence,
        )
    return passed(f"{free >> 20} MiB of shared memory are free", **evidence, written_mib=written >> 20)


def disk_speed(subject: Subject) -> Finding:
    """Write a file to the scratch disk, have it kept, and read it back."""
    free = files.free_bytes(subject.scratch)
    if free < 2 * DISK_BYTES:
        return failed(
            f"{free >> 20} MiB are free on the scratch disk ({subject.places.scratch})",
            "free some space, then try again",
            free_mib=free >> 20,
        )
    with TemporaryFile(dir=subject.scratch, buffering=0) as stream:
        written, write_s = _write_for_good(stream)
        read_s = _read_back(stream)
    return judge_disk(written / _MEGABYTE / write_s, written / _MEGABYTE / read_s, written >> 20)


def judge_disk(write_mb_per_s: float, read_mb_per_s: float, measured_mib: int) -> Finding:
    """Return the verdict on a disk's speeds."""
    evidence = {
        "write_mb_per_s": round(write_mb_per_s),
        "read_mb_per_s": round(read_mb_per_s),
        "measured_mib": measured_mib,
    }
    told = f"writes {write_mb_per_s:.0f} MB/s, reads {read_mb_per_s:.0f} MB/s"
    slowest = min(write_mb_per_s, read_mb_per_s)
    if slowest < TOO_SLOW_MB_PER_S:
        return failed(
            f"the scratch disk {told}: each checkpoint would hold training up for minutes",
            "OCRVL_HOME=FOLDER on a faster disk; on Modal, try again: another machine may be faster",
            **evidence,
        )
    slow = "; slow: checkpoints take minutes" if slowest < SLOW_MB_PER_S else ""
    return passed(told + slow, **evidence)


def _fill(folder: Path, size_bytes: int) -> None:
    """Write a file without a name, so that nothing of it is left, however this ends."""
    chunk = bytes(_CHUNK_BYTES)
    with TemporaryFile(dir=folder, buffering=0) as stream:
        for _ in range(0, size_bytes, _CHUNK_BYTES):
            stream.write(chunk)


def _write_for_good(stream: IO[bytes]) -> tuple[int, float]:
    """Return how many bytes were written, and the seconds until the disk had them."""
    chunk = os.urandom(_CHUNK_BYTES)
    written = 0
    began = time.monotonic()
    while written < DISK_BYTES and time.monotonic() - began < _LONGEST_WRITE_S:
        written += stream.write(chunk)
    os.fsync(stream.fileno())
    return written, max(time.monotonic() - began, 1e-6)


def _read_back(stream: IO[bytes]) -> float:
    """Return the seconds of reading a file that the system was asked to forget."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    stream.seek(0)
    began = time.monotonic()
    while stream.read(_CHUNK_BYTES):
        pass
    return max(time.monotonic() - began, 1e-6)


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
