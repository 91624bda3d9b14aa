"""What a check found, as plain data that crosses processes and machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["pass", "fail", "skip"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """What a check says.

    ``reason`` is one line: what was proven, what is broken, or why nothing could be found out. ``hint`` is the command
    or the action that mends it. ``evidence`` holds versions, names and measurements, with units in the names.
    """

    verdict: Verdict
    reason: str
    hint: str = ""
    evidence: dict[str, Any] = {}


class Result(_Frozen):
    """A check's finding with where it was made and how long it took.

    ``last_lines`` is what the check printed last, for a failure that its reason alone does not explain.
    """

    place: str
    check: str
    verdict: Verdict
    reason: str
    seconds: float
    hint: str = ""
    evidence: dict[str, Any] = {}
    last_lines: tuple[str, ...] = ()

    @classmethod
    def of(cls, place: str, check: str, finding: Finding, seconds: float, last_lines: Iterable[str] = ()) -> Result:
        """Return the result of a check that came to ``finding``."""
        return cls(
            place=place, check=check, seconds=round(seconds, 2), last_lines=tuple(last_lines), **finding.model_dump()
        )


def passed(reason: str, **evidence: Any) -> Finding:
    """Return the finding that all is well."""
    return Finding(verdict="pass", reason=reason, evidence=evidence)


def failed(reason: str, hint: str, **evidence: Any) -> Finding:
    """Return the finding that something is broken, with what mends it."""
    return Finding(verdict="fail", reason=reason, hint=hint, evidence=evidence)


def skipped(reason: str, hint: str = "", **evidence: Any) -> Finding:
    """Return the finding that there was nothing to find out here; ``hint`` says where there is."""
    return Finding(verdict="skip", reason=reason, hint=hint, evidence=evidence)
