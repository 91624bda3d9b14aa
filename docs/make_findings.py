"""Writes the table of findings into ``datasets.md``, from the kinds that the check knows."""

from __future__ import annotations

import re
from pathlib import Path

from ocrvl_modal.data.checking.kinds import KINDS

PAGE = Path(__file__).with_name("datasets.md")

_BEGIN, _END = "<!-- Written by make findings. -->\n", "<!-- End. -->"


def table() -> str:
    """Return the table, errors first, in the order in which the kinds are declared."""
    rows = ["| finding | | what it is | what mends it |", "|---|---|---|---|"]
    for severity in ("error", "warning"):
        for name, kind in KINDS.items():
            if kind.severity == severity:
                star = r" \*" if kind.fixable else ""
                mend = kind.mend.replace("<image>", "`<image>`")
                rows.append(f"| `{name}`{star} | {severity} | {kind.title} | {mend} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    """Return the page with the table of today between its two marks."""
    return re.sub(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", lambda _: _BEGIN + table() + _END, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
