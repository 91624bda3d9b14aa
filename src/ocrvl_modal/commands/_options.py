"""Options that many commands share, with one meaning and one help text."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only: no progress, no hints.")]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", metavar="local|modal", help="Where it runs; see `ocrvl train --help` for the default."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Never ask.")]
