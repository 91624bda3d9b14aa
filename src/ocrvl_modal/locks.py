"""A lock that lives exactly as long as the processes that hold it, however they die."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocrvl_modal.errors import OcrvlError

_PROBE_GRACE_S = 1.0
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def acquire(path: Path) -> int | None:
    """Lock ``path`` and return its open descriptor, or ``None`` while another process holds it.

    The lock belongs to the open file: a child that inherits the descriptor holds it too, and the kernel frees it when
    the last holder ends. A process that only looks (:func:`is_held`) holds it for an instant, so a busy lock is tried
    for a second. A file system over a network may know no locks; nobody is kept out there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _above_standard_streams(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
    deadline = time.monotonic() + _PROBE_GRACE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            os.close(descriptor)
            raise


def _above_standard_streams(descriptor: int) -> int:
    """Return the same open file under a number that a child's standard streams will not be laid over.

    Where a service or a shell starts us with a stream closed, the next file that is opened takes its number.
    """
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


@contextmanager
def held(path: Path, busy: OcrvlError) -> Iterator[None]:
    """Hold a lock for the length of a block; raise ``busy`` where another process has it."""
    descriptor = acquire(path)
    if descriptor is None:
        raise busy
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Say whether some process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
