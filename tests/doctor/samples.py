"""Checks that behave badly; each runs in a process of its own, as ``doctor.samples:name``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from ocrvl_modal.doctor.findings import Finding, failed, passed, skipped
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.errors import OcrvlError

SECRET_VARIABLE = "SAMPLE_API_KEY"


def works(subject: Subject) -> Finding:
    return passed("it works", place=subject.name, is_empty=not any(subject.scratch.iterdir()))


def says_no(subject: Subject) -> Finding:
    return failed("it is broken", "mend it")


def has_nothing_to_say(subject: Subject) -> Finding:
    return skipped("nothing to see")


def raises_for_the_user(subject: Subject) -> Finding:
    raise OcrvlError("the thing is missing", "ocrvl get thing")


def raises(subject: Subject) -> Finding:
    raise RuntimeError("a library broke\nin two lines")


def leaves(subject: Subject) -> Finding:
    raise SystemExit(7)


def ends_without_a_word(subject: Subject) -> Finding:
    os._exit(3)


def crashes(subject: Subject) -> Finding:
    print("about to call binary code", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    return passed("unreachable")


def hangs(subject: Subject) -> Finding:
    """Hangs deaf to being asked to end, with a child that left the group: the child's number is in a file."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (subject.places.scratch / "left-behind").write_text(str(child.pid))
    print("waiting for the GPU", flush=True)
    while True:
        time.sleep(60)


def is_noisy(subject: Subject) -> Finding:
    for number in range(200_000):
        sys.stdout.write(f'{{"verdict": "fail", "reason": "noise {number}"}}\n')
    os.write(2, b"\xff\xfe bytes of no encoding\n")
    return passed("heard through the noise")


def eats_memory(subject: Subject) -> Finding:
    held = []
    while True:
        held.append(bytearray(32 << 20))
        time.sleep(0.02)


def tells_secrets(subject: Subject) -> Finding:
    """Tells what it can know of the environment, and a secret that it read from a file."""
    secret = (subject.places.scratch / "secret").read_text()
    print(f"the key is {secret}", flush=True)
    return failed(f"refused: {secret}", f"try {secret}", seen=os.environ.get(SECRET_VARIABLE), listed=[{"key": secret}])


def takes_turns(subject: Subject) -> Finding:
    """Notes how many of its kind run beside it."""
    mine = subject.places.scratch / f"turn-{os.getpid()}"
    mine.touch()
    time.sleep(0.3)
    beside = len(list(subject.places.scratch.glob("turn-*")))
    mine.unlink()
    return passed("done", beside=beside)


def crashes_at_its_exit(subject: Subject) -> Finding:
    import atexit

    atexit.register(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    return passed("all was well before")
