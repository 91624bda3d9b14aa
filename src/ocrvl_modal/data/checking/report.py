"""What a check found: the numbers of a dataset, and its findings by kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ocrvl_modal.data.checking.kinds import KINDS, Severity
from ocrvl_modal.data.rows import check_command
from ocrvl_modal.data.schema import Finding
from ocrvl_modal.errors import data_error

_SHOWN = 5


@dataclass(frozen=True)
class Extent:
    """A quantity over all samples."""

    total: int = 0
    max: int = 0

    @classmethod
    def of(cls, values: Collection[int]) -> Extent:
        """Add up ``values`` and find the greatest."""
        return cls(sum(values), max(values, default=0))

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.total + other.total, max(self.max, other.max))

    def to_dict(self) -> dict[str, int]:
        """Return the extent as it stands in JSON output."""
        return {"total": self.total, "max": self.max}


@dataclass(frozen=True)
class FindingGroup:
    """All findings of one kind: how many, and the first of them."""

    kind: str
    count: int
    examples: tuple[Finding, ...]

    @property
    def severity(self) -> Severity:
        """How grave findings of this kind are."""
        return KINDS[self.kind].severity

    @property
    def title(self) -> str:
        """What is found, in a few words."""
        return KINDS[self.kind].title

    @property
    def hint(self) -> str:
        """What mends it: what the finding itself says, or the advice for its kind."""
        return next((finding.hint for finding in self.examples if finding.hint), KINDS[self.kind].mend)

    def to_dict(self) -> dict[str, Any]:
        """Return the group as it stands in JSON output."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "count": self.count,
            "title": self.title,
            "hint": self.hint,
            "examples": [finding.to_dict() for finding in self.examples],
        }


@dataclass(frozen=True)
class DatasetReport:
    """What a dataset file holds and what was found in it, errors first.

    The numbers speak of the ``samples``, which are the rows without an error. ``images`` tells which images were
    looked at, and ``compared`` the files that were searched for the same ones; ``pairs_not_compared`` of images look
    alike at a glance and were too many to compare closely. ``sequence_tokens_max`` is the longest
    sample as the model sees it; where no tokenizer counted the text (``tokens_counted``), it is an estimate of one
    token a character, and without images it is the text alone. ``sha256`` is the
    :func:`~ocrvl_modal.data.digest.dataset_digest` where that was asked for.
    """

    path: Path
    rows: int
    samples: int
    by_prompt: Mapping[str, int]
    images: str
    vision_tokens: Extent
    target_characters: Extent
    sequence_tokens_max: int
    tokens_counted: bool
    findings: tuple[FindingGroup, ...]
    compared: tuple[str, ...] = ()
    sha256: str = ""
    pairs_not_compared: int = 0

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(group.count for group in self.findings if group.severity == "error")

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return sum(group.count for group in self.findings if group.severity == "warning")

    @property
    def is_valid(self) -> bool:
        """Whether every row can be trained on."""
        return not self.errors

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind, in the order of the groups."""
        return {group.kind: group.count for group in self.findings}

    def group(self, kind: str) -> FindingGroup | None:
        """Return the findings of one kind, ``None`` where there are none."""
        return next((group for group in self.findings if group.kind == kind), None)

    def with_errors(self, kind: str, findings: Sequence[Finding]) -> DatasetReport:
        """Return the report with errors of a kind that it has none of, which concern the dataset as a whole."""
        group = (FindingGroup(kind, len(findings), tuple(findings)),) if findings else ()
        return replace(self, findings=(*group, *self.findings))

    def raise_if_invalid(self) -> None:
        """Raise a data error that lists the first errors and counts them all by kind."""
        if self.is_valid:
            return
        groups = [group for group in self.findings if group.severity == "error"]
        kinds = ", ".join(f"{group.count:,} {group.kind}" for group in groups)
        examples = sorted((finding for group in groups for finding in group.examples), key=lambda one: one.line or 0)
        shown = [f"  {finding}" for finding in examples[:_SHOWN]]
        if more := self.errors - len(shown):
            shown.append(f"  and {more:,} more")
        raise data_error("\n".join([f"{self.path} cannot be trained on: {kinds}", *shown]), check_command(self.path))

    def warning_lines(self, without: Collection[str] = ()) -> tuple[str, ...]:
        """Return a line for each kind of warning that is not in ``without``: what, how many, and the first."""
        return tuple(
            f"{self.path}: {group.title} ({group.count:,}), such as: {group.examples[0]}"
            for group in self.findings
            if group.severity == "warning" and group.kind not in without
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "valid": self.is_valid,
            "errors": self.errors,
            "warnings": self.warnings,
            "rows": self.rows,
            "samples": self.samples,
            "by_prompt": dict(self.by_prompt),
            "images": self.images,
            "compared": list(self.compared),
            "pairs_not_compared": self.pairs_not_compared,
            "vision_tokens": self.vision_tokens.to_dict(),
            "target_characters": self.target_characters.to_dict(),
            "sequence_tokens_max": self.sequence_tokens_max,
            "tokens_counted": self.tokens_counted,
            "counts": self.counts,
            "findings": [group.to_dict() for group in self.findings],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatasetReport:
        """Rebuild a report from :meth:`to_dict`."""
        return cls(
            path=Path(data["path"]),
            rows=data["rows"],
            samples=data["samples"],
            by_prompt=data["by_prompt"],
            images=data["images"],
            vision_tokens=Extent(**data["vision_tokens"]),
            target_characters=Extent(**data["target_characters"]),
            sequence_tokens_max=data["sequence_tokens_max"],
            tokens_counted=data["tokens_counted"],
            findings=tuple(
                FindingGroup(group["kind"], group["count"], tuple(map(Finding.from_dict, group["examples"])))
                for group in data["findings"]
            ),
            compared=tuple(data["compared"]),
            sha256=data["sha256"],
            pairs_not_compared=data["pairs_not_compared"],
        )
