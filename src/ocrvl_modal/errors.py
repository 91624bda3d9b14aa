"""What can go wrong in a way that the user can mend, and the exit code it ends in."""

from __future__ import annotations

import difflib
import errno
import shutil
from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of ``ocrvl``; stable, so that scripts can rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DATA_INVALID = 3
    NOT_PERMITTED = 4
    NOT_FOUND = 5
    CANCELLED = 6
    INTERRUPTED = 130

    @property
    def slug(self) -> str:
        """The code's word in JSON output, such as ``not_found``."""
        return self.name.lower()


class OcrvlError(Exception):
    """A failure that the user can mend.

    ``message`` says what is wrong and where; ``hint`` is the command or the action that mends it; ``code`` is the
    exit code. It survives pickling, so that a job on another machine can raise it here.
    """

    def __init__(self, message: str, hint: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message, hint, code)
        self.message = message
        self.hint = hint
        self.code = ExitCode(code)

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the error as it stands in JSON output and in ``run.json``."""
        return {"code": self.code.slug, "message": self.message, "hint": self.hint}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> OcrvlError:
        """Rebuild an error from :meth:`to_dict`; an unknown code word becomes ``failed``."""
        name = str(data.get("code", "failed")).upper()
        code = ExitCode[name] if name in ExitCode.__members__ else ExitCode.FAILED
        return cls(str(data.get("message", "")), str(data.get("hint", "")), code)


class Unreachable(OcrvlError):
    """A server does not answer at this moment. Whoever waits for something may ask again."""


class RunCancelled(BaseException):
    """Raised inside a job when its user asked it to stop for good.

    A ``BaseException``, like ``KeyboardInterrupt``, so that no ``except Exception`` on the way swallows it.
    """


def usage_error(message: str, hint: str = "") -> OcrvlError:
    """Return the error of a request that cannot be understood or must not be done."""
    return OcrvlError(message, hint, ExitCode.USAGE)


def data_error(message: str, hint: str = "") -> OcrvlError:
    """Return the error of a dataset or an image that cannot be used."""
    return OcrvlError(message, hint, ExitCode.DATA_INVALID)


def not_found(message: str, hint: str = "") -> OcrvlError:
    """Return the error of a thing that is not there."""
    return OcrvlError(message, hint, ExitCode.NOT_FOUND)


def of_the_system(error: OSError, again: str = "try again") -> OcrvlError:
    """Return what the operating system refused, in words; ``again`` says how to go on when its cause is mended."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        source, _, why = error.args[0][0]
        return OcrvlError(f"{source} cannot be copied: {why}", f"mend or remove it, then {again}")
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OcrvlError(f"the disk is full{where}", f"free some space, then {again}")
    return OcrvlError(f"{error.strerror or error}{where}", f"look at the disk and its permissions, then {again}")


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the known name nearest to ``name``, or all known names when none is near."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean '{near}'?" if near else "known: " + ", ".join(names)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` is most likely a slip for, in any case; ``None`` when none is near."""
    lowered = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[near[0]] if near else None
