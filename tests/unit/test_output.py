"""How a command speaks, tried where nobody watches, and on a terminal made for it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest
from rich.table import Table

from ocrvl_modal import output
from ocrvl_modal.errors import ExitCode, OcrvlError, usage_error
from ocrvl_modal.jobs.progress import in_bytes
from ocrvl_modal.output import Output, show_error

Captured = pytest.CaptureFixture[str]


def an_output(mode: str = "human") -> Output:
    return Output.of("runs ls", json=mode == "json", quiet=mode == "quiet")


class TestFinish:
    def test_for_people_the_result_goes_to_stdout_and_the_hint_to_stderr(self, capsys: Captured) -> None:
        an_output().finish({"n": 1}, human=lambda: ["one", "two"], hint="ocrvl train")
        assert capsys.readouterr() == ("one\ntwo\n", "next: ocrvl train\n")

    def test_quietly_there_is_the_result_only(self, capsys: Captured) -> None:
        out = an_output("quiet")
        out.note("a note")
        with out.progress() as on_progress:
            on_progress("reading", 1, 1)
        out.finish({"n": 1}, human=lambda: ["one"], hint="ocrvl train")
        assert capsys.readouterr() == ("one\n", "")

    def test_as_json_there_is_one_envelope_and_nothing_else(self, capsys: Captured) -> None:
        out = an_output("json")
        out.note("a note")
        out.warn("look [here]")
        with out.progress() as on_progress:
            on_progress("reading", 1, 1)
        out.finish({"n": 1, "text": "grüße"}, human=lambda: pytest.fail("not for people"), hint="ocrvl train")
        captured = capsys.readouterr()
        assert json.loads(captured.out) == {
            "schema": 1,
            "command": "runs ls",
            "data": {"n": 1, "text": "grüße"},
            "warnings": ["look [here]"],
        }
        assert "grüße" in captured.out
        assert captured.err == ""

    @pytest.mark.parametrize("mode", ["human", "json", "quiet"])
    def test_an_exit_code_is_exited_with_after_the_result(self, capsys: Captured, mode: str) -> None:
        with pytest.raises(SystemExit) as caught:
            an_output(mode).finish({}, human=lambda: ["one"], exit_code=ExitCode.DATA_INVALID)
        assert caught.value.code == 3
        assert capsys.readouterr().out


TRICKY = "a [bold]b[/] [/nothing] [link=x] :smile: :100: /data/[x]/y.jsonl"


class TestTextIsData:
    """Paths, prompts and model output may look like markup, or like the name of a picture."""

    def test_in_results(self, capsys: Captured) -> None:
        an_output().finish({}, human=lambda: [TRICKY], hint=TRICKY)
        assert capsys.readouterr() == (f"{TRICKY}\n", f"next: {TRICKY}\n")

    def test_in_notes_and_warnings(self, capsys: Captured) -> None:
        out = an_output()
        out.note(TRICKY)
        out.warn(TRICKY)
        assert capsys.readouterr().err == f"{TRICKY}\nwarning: {TRICKY}\n"

    def test_in_errors(self, capsys: Captured) -> None:
        show_error(OcrvlError(TRICKY, TRICKY), as_json=False)
        assert capsys.readouterr().err == f"error: {TRICKY}\n hint: {TRICKY}\n"

    def test_in_progress(self, capsys: Captured) -> None:
        with an_output().progress() as on_progress:
            on_progress(TRICKY, 1, 1)
        assert capsys.readouterr().err == f"{TRICKY}: 1/1\n"

    def test_in_questions(self) -> None:
        said = on_a_terminal(f"print(Output.of('x').confirm({TRICKY!r}, yes=False))", b"y\n")
        assert f"{TRICKY} [y/N]" in said


def test_long_text_is_not_folded_where_nobody_watches(capsys: Captured) -> None:
    long = "word " * 100
    out = an_output()
    out.note(long)
    out.warn(long)
    out.finish({}, human=lambda: [long], hint=long)
    show_error(OcrvlError(long, long), as_json=False)
    captured = capsys.readouterr()
    assert captured.out == f"{long}\n"
    assert [line.rstrip() for line in captured.err.splitlines()] == [
        f"{head}{long}".rstrip() for head in ("", "warning: ", "next: ", "error: ", " hint: ")
    ]


def test_a_wide_table_is_not_squeezed_to_80_columns_where_nobody_watches(capsys: Captured) -> None:
    table = Table()
    for column in range(4):
        table.add_column("c" * 30 + str(column))
    table.add_row(*["v" * 30] * 4)
    an_output().finish({}, human=lambda: [table])
    assert "v" * 30 in capsys.readouterr().out


def test_where_nobody_watches_there_are_no_colours(capsys: Captured) -> None:
    out = an_output()
    out.warn("look")
    show_error(OcrvlError("no", "mend"), as_json=False)
    assert "\x1b" not in capsys.readouterr().err


def test_an_error_as_json_is_one_envelope(capsys: Captured) -> None:
    show_error(usage_error("no", "mend it"), as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"schema": 1, "error": {"code": "usage", "message": "no", "hint": "mend it"}}
    assert captured.err == ""


class TestPlainProgress:
    def test_it_says_when_something_has_ended_and_now_and_then_how_far_it_is(
        self, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [0.0]
        monkeypatch.setattr(output.time, "monotonic", lambda: clock[0])
        with an_output().progress() as on_progress:
            for done in range(101):
                clock[0] = done / 10
                on_progress("reading", done, 100)
            on_progress("reading", 100, 100)
            on_progress("writing", 1, 1)
        assert capsys.readouterr().err.splitlines() == ["reading: 50/100", "reading: 100/100", "writing: 1/1"]

    def test_of_bytes_it_says_how_fast_and_how_long(self, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = [0.0]
        monkeypatch.setattr(output.time, "monotonic", lambda: clock[0])
        with an_output().progress() as on_progress:
            for done in range(500, 1901, 100):
                clock[0] = (done - 500) / 100
                on_progress(in_bytes("x.whl"), done * 10**6, 1900 * 10**6)
        assert capsys.readouterr().err.splitlines() == [
            "x.whl: 1,000/1,900 MB, 100.0 MB/s, 9 s left",
            "x.whl: 1,500/1,900 MB, 100.0 MB/s, 4 s left",
            "x.whl: 1,900/1,900 MB, 100.0 MB/s",
        ]

    def test_few_bytes_are_told_in_kilobytes_and_without_a_speed(self, capsys: Captured) -> None:
        with an_output().progress() as on_progress:
            on_progress(in_bytes("checking rows"), 0, 2048)
            on_progress(in_bytes("checking rows"), 2048, 2048)
        assert capsys.readouterr() == ("", "checking rows: 2.0/2.0 kB\n")

    def test_it_is_lines_and_never_redraws(self, capsys: Captured) -> None:
        with an_output().progress() as on_progress:
            on_progress("reading", 2, 2)
        assert capsys.readouterr() == ("", "reading: 2/2\n")


class TestConfirm:
    @pytest.mark.parametrize("mode", ["human", "json", "quiet"])
    def test_yes_never_asks(self, capsys: Captured, mode: str) -> None:
        an_output(mode).confirm("Start it?", yes=True)
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize("mode", ["human", "json", "quiet"])
    def test_where_nobody_can_answer_it_is_an_error_that_names_yes(
        self, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        with pytest.raises(OcrvlError, match="Nobody is here to answer") as caught:
            an_output(mode).confirm("Start it?", yes=False)
        assert caught.value.code == ExitCode.USAGE
        assert "--yes" in caught.value.hint

    @pytest.mark.parametrize(("answer", "goes_on"), [(b"y\n", True), (b"YES\n", True), (b"\n", False), (b"n\n", False)])
    def test_on_a_terminal_only_a_yes_goes_on(self, answer: bytes, goes_on: bool) -> None:
        said = on_a_terminal(CONFIRM, answer)
        assert "Start it? [y/N]" in said
        assert ("it goes on" in said) == goes_on
        assert ("not done: 6" in said) == (not goes_on)

    def test_the_end_of_the_input_is_a_no(self) -> None:
        assert "not done: 6" in on_a_terminal(CONFIRM, b"\x04")


CONFIRM = """
try:
    Output.of("x").confirm("Start it?", yes=False)
    print("it goes on")
except OcrvlError as error:
    print("not done:", int(error.code))
"""


def on_a_terminal(program: str, typed: bytes = b"") -> str:
    """Run a program with a terminal of its own, and return all that it shows there."""
    terminal, its_end = pty.openpty()
    head = "from ocrvl_modal.output import Output\nfrom ocrvl_modal.errors import OcrvlError\n"
    process = subprocess.Popen(
        [sys.executable, "-c", head + program],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"},
        start_new_session=True,
    )
    os.close(its_end)
    os.write(terminal, typed)
    shown = b""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                break
    process.wait(20)
    os.close(terminal)
    assert process.returncode == 0, shown.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_on_a_terminal_progress_is_a_bar_that_goes_away() -> None:
    shown = on_a_terminal(f"""
with Output.of("x").progress() as on_progress:
    on_progress({TRICKY!r}, 1, 4)
    on_progress({TRICKY!r}, 4, 4)
print("done")
""")
    assert "4/4" in shown
    assert TRICKY in shown
    assert shown.rstrip().endswith("done")


def test_on_a_terminal_bytes_have_a_speed_and_other_units_do_not() -> None:
    shown = on_a_terminal("""
import time
from ocrvl_modal.jobs.progress import in_bytes
with Output.of("x").progress() as on_progress:
    for done in range(1, 6):
        on_progress(in_bytes("x.whl"), done * 10**7, 10**8)
        on_progress("rows", done, 10)
        time.sleep(0.15)
""")
    assert "50.0/100.0 MB" in shown
    assert "MB/s" in shown
    assert "(bytes)" not in shown
    assert any(re.search(r"rows.* 5/10 \d:\d\d:\d\d", line) for line in shown.splitlines())
