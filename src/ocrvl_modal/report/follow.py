"""Following a run to its end: a line that redraws itself where a person watches, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.backends.runs_view import RunView, load_metrics, load_run
from ocrvl_modal.errors import OcrvlError, Unreachable
from ocrvl_modal.output import Output, stderr_console
from ocrvl_modal.report.run_report import STATE_STYLES, loss_line

PLAIN_INTERVAL_S = 5.0
PATIENCE_S = 600.0
"""A network may be gone for so long before following a run ends."""


def follow(backend: Backend, name: str, out: Output, *, until: Callable[[RunView], bool] | None = None) -> RunView:
    """Show a run until it has ended, or until ``until`` says so; return how it stands then."""
    ended = until or (lambda view: view.ended)
    look = _Look(backend, name)
    if out.live:
        return _follow_live(backend, look, ended)
    tell = _PlainLines() if out.talkative else None
    while True:
        view = look()
        if tell is not None:
            tell(view)
        if ended(view):
            return view
        time.sleep(backend.poll_s)


class _Look:
    """Looks at a run; a server that does not answer for a while is waited for, since the run goes on without us."""

    def __init__(self, backend: Backend, name: str) -> None:
        self.name = name
        self._backend = backend

    def __call__(self) -> RunView:
        began = time.monotonic()
        while True:
            try:
                return load_run(self._backend, self.name)
            except Unreachable as error:
                if time.monotonic() - began > PATIENCE_S:
                    message = f"{error.message}; run '{self.name}' goes on by itself"
                    raise OcrvlError(message, f"ocrvl runs wait {self.name}", error.code) from error
            time.sleep(self._backend.poll_s)


def _follow_live(backend: Backend, look: _Look, ended: Callable[[RunView], bool]) -> RunView:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("[dim]steps[/]"),
        TimeElapsedColumn(),
        TextColumn("[dim]left[/]"),
        TimeRemainingColumn(),
    )
    task = bar.add_task(look.name, total=None)
    console = stderr_console()
    with Live(bar, console=console, transient=True, refresh_per_second=8) as live:
        while True:
            view = look()
            record = view.record
            style = STATE_STYLES[view.state]
            bar.update(
                task,
                description=f"{record.name} [{style}]{view.state}[/]",
                completed=record.step,
                total=record.max_steps,
            )
            live.update(Group(bar, _loss(backend, view)))
            if ended(view):
                return view
            time.sleep(backend.poll_s)


def _loss(backend: Backend, view: RunView) -> Text:
    if view.record.loss is None:
        return Text("")
    line = loss_line(load_metrics(backend, view.record.name), 50)
    return Text.assemble(("  loss ", "dim"), (line, "cyan"), f" {view.record.loss:.4f}")


class _PlainLines:
    """Prints a line at each change of state, and now and then a step."""

    def __init__(self) -> None:
        self._state = ""
        self._step = -1
        self._at = float("-inf")

    def __call__(self, view: RunView) -> None:
        record = view.record
        moved = record.step != self._step and time.monotonic() - self._at >= PLAIN_INTERVAL_S
        if view.state == self._state and not (moved and view.state == "training"):
            return
        self._state, self._step, self._at = view.state, record.step, time.monotonic()
        loss = "" if record.loss is None else f", loss {record.loss:.4f}"
        print(f"{record.name}: {view.state}, step {record.step}/{record.max_steps}{loss}", file=sys.stderr, flush=True)
