"""The one way a command speaks: data on standard output, all else on standard error, for people or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ocrvl_modal.errors import ExitCode, OcrvlError, usage_error
from ocrvl_modal.jobs.progress import what_in_bytes

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
_PLAIN_WIDTH = 160
_PLAIN_INTERVAL_S = 5.0
_LEAST_IN_MEGABYTES = 1_000_000

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, how many units are done, and of how many."""


class Output:
    """Where one command's words go. Make it with :meth:`of`, end the command with :meth:`finish`."""

    def __init__(self, command: str, *, as_json: bool, quiet: bool) -> None:
        self.command = command
        self.as_json = as_json
        self.quiet = quiet
        self._warnings: list[str] = []

    @classmethod
    def of(cls, command: str, *, json: bool = False, quiet: bool = False) -> Output:
        """Return the output of ``command``, in the mode that its options ask for."""
        return cls(command, as_json=json, quiet=quiet)

    @property
    def talkative(self) -> bool:
        """Whether notes, hints and progress are wanted at all."""
        return not (self.as_json or self.quiet)

    @property
    def live(self) -> bool:
        """Whether a person watches: progress may redraw itself."""
        return self.talkative and sys.stderr.isatty()

    def note(self, text: str) -> None:
        """Say something that is not the result."""
        if self.talkative:
            stderr_console().print(text, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Say something that the user should look at; kept for the envelope in JSON mode."""
        self._warnings.append(text)
        if not self.as_json:
            _say("warning: ", "yellow", text)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is spent or lost; raise where the answer is no, or where nobody can answer."""
        if yes:
            return
        if self.as_json or not sys.stdin.isatty():
            raise usage_error(f"{question} Nobody is here to answer.", "run it again with --yes")
        stderr_console().print(question, "[y/N] ", end="")
        try:
            answer = input()
        except EOFError:
            answer = ""
        if answer.strip().lower() not in {"y", "yes"}:
            raise OcrvlError("not done, as you asked", "", ExitCode.CANCELLED)

    @contextmanager
    def progress(self) -> Iterator[OnProgress]:
        """Yield a function that shows progress: bars where a person watches, now and then a line elsewhere."""
        if self.live:
            with _bars() as on_progress:
                yield on_progress
        elif self.talkative:
            yield _PlainProgress()
        else:
            yield _show_nothing

    def finish(
        self,
        data: Mapping[str, Any],
        *,
        human: Callable[[], Iterable[Any]],
        hint: str = "",
        exit_code: ExitCode = ExitCode.OK,
    ) -> None:
        """Print the command's result, once, as its last act.

        ``human`` returns what rich can print, and is called in human mode only. Exits with ``exit_code`` when that is
        not 0.
        """
        if self.as_json:
            print_json({"schema": SCHEMA, "command": self.command, "data": data, "warnings": self._warnings})
        else:
            console = stdout_console()
            for item in human():
                # Text is data: rich would fold it.
                print(item) if isinstance(item, str) else console.print(item)
            if hint and self.talkative:
                _say("next: ", "dim", hint)
        if exit_code is not ExitCode.OK:
            raise SystemExit(int(exit_code))


def show_error(error: OcrvlError, *, as_json: bool) -> None:
    """Print an error: as JSON on standard output, or in words on standard error."""
    if as_json:
        print_json({"schema": SCHEMA, "error": error.to_dict()})
        return
    _say("error: ", "bold red", error.message)
    if error.hint:
        _say(" hint: ", "dim", error.hint)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")
    sys.stdout.flush()


def stdout_console() -> Console:
    """Return a console for results; lines are not folded at 80 columns where no terminal asks for it."""
    return _console(sys.stdout)


def stderr_console() -> Console:
    """Return a console for everything that is not a result."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    """Paths, prompts and what models write are data: they may look like markup, or like the name of a picture."""
    from rich.console import Console

    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def _say(head: str, style: str, text: str) -> None:
    from rich.text import Text

    stderr_console().print(Text.assemble((head, style), text), soft_wrap=True)


def _show_nothing(_what: str, _done: int, _total: int) -> None:
    """Progress for a caller that wants none."""


@contextmanager
def _bars() -> Iterator[OnProgress]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class Amounts(ProgressColumn):
        """How much is done, of how much; of bytes also how fast, and how long it will take."""

        counts = (MofNCompleteColumn(), TimeElapsedColumn())
        bytes = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))

        def render(self, task: Task) -> Text:
            columns = self.bytes if task.fields["in_bytes"] else self.counts
            return Text(" ").join(column.render(task) for column in columns)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Amounts())
    with Progress(*columns, console=stderr_console(), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                name = what_in_bytes(what)
                tasks[what] = progress.add_task(name or what, total=total, in_bytes=name is not None)
            progress.update(tasks[what], completed=done, total=total)

        yield on_progress


class _PlainProgress:
    """Prints a line when something begins, ends, or has gone on for a while."""

    def __init__(self) -> None:
        self._printed_at: dict[str, float] = {}
        self._first: dict[str, tuple[float, int]] = {}
        self._ended: set[str] = set()

    def __call__(self, what: str, done: int, total: int) -> None:
        ended = done >= total
        if what in self._ended:
            return
        self._first.setdefault(what, (time.monotonic(), done))
        due = time.monotonic() - self._printed_at.setdefault(what, time.monotonic()) >= _PLAIN_INTERVAL_S
        if ended or due:
            self._printed_at[what] = time.monotonic()
            print(self._line(what, done, total), file=sys.stderr, flush=True)
        if ended:
            self._ended.add(what)

    def _line(self, what: str, done: int, total: int) -> str:
        name = what_in_bytes(what)
        if name is None:
            return f"{what}: {done}/{total}"
        began, before = self._first[what]
        speed = (done - before) / max(time.monotonic() - began, 1e-3)
        if total < _LEAST_IN_MEGABYTES:
            return f"{name}: {done / 1e3:,.1f}/{total / 1e3:,.1f} kB"
        line = f"{name}: {done / 1e6:,.0f}/{total / 1e6:,.0f} MB, {speed / 1e6:.1f} MB/s"
        return f"{line}, {(total - done) / speed:.0f} s left" if 0 < done < total and speed > 0 else line
