"""``ocrvl data``: from what people have to a dataset that trains, one module a command."""

from __future__ import annotations

import typer

from ocrvl_modal.commands.data.check import check, find_family_member, show_report
from ocrvl_modal.commands.data.convert import convert
from ocrvl_modal.commands.data.localize import localize
from ocrvl_modal.commands.data.ls import list_datasets
from ocrvl_modal.commands.data.mix import mix
from ocrvl_modal.commands.data.preview import preview
from ocrvl_modal.commands.data.pull import pull
from ocrvl_modal.commands.data.push import push
from ocrvl_modal.commands.data.sample import sample
from ocrvl_modal.commands.data.split import split
from ocrvl_modal.commands.data.stats import stats
from ocrvl_modal.commands.data.synth import synth

__all__ = ["app", "check", "find_family_member", "show_report", "synth"]

app = typer.Typer(no_args_is_help=True, help="Convert, check, shape and store datasets.")
app.command()(convert)
app.command()(localize)
app.command()(check)
app.command()(stats)
app.command()(split)
app.command()(mix)
app.command()(sample)
app.command()(preview)
app.command()(synth)
app.command()(push)
app.command()(pull)
app.command("ls")(list_datasets)
