"""``ocrvl data``: from what people have to a dataset that trains, one module a command."""

from __future__ import annotations

import typer

from ocrvl_modal.commands.data.check import check, find_family_member, show_report
from ocrvl_modal.commands.data.synth import synth

__all__ = ["app", "check", "find_family_member", "show_report", "synth"]

app = typer.Typer(no_args_is_help=True, help="Convert, check, shape and store datasets.")
app.command()(check)
app.command()(synth)
