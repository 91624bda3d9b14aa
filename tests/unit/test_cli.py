"""Where an exception becomes words and an exit code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from ocrvl_modal import cli
from ocrvl_modal.errors import ExitCode, OcrvlError, data_error, not_found, of_the_system, usage_error

Captured = pytest.CaptureFixture[str]
Raises = Callable[[BaseException], None]


@pytest.fixture
def raises(monkeypatch: pytest.MonkeyPatch) -> Raises:
    """Return what makes ``ocrvl act`` raise something."""

    def set_error(error: BaseException) -> None:
        app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

        @app.callback()
        def root() -> None:
            """Have commands."""

        @app.command()
        def act(number: int = 0, json: Annotated[bool, typer.Option("--json")] = False) -> None:
            raise error

        monkeypatch.setattr(cli, "app_for", lambda _: app)

    return set_error


ERRORS = {
    "failed": (OcrvlError("it broke", "mend it"), 1),
    "usage": (usage_error("it broke", "mend it"), 2),
    "data_invalid": (data_error("it broke", "mend it"), 3),
    "not_permitted": (OcrvlError("it broke", "mend it", ExitCode.NOT_PERMITTED), 4),
    "not_found": (not_found("it broke", "mend it"), 5),
    "cancelled": (OcrvlError("it broke", "mend it", ExitCode.CANCELLED), 6),
}


@pytest.mark.parametrize("slug", ERRORS)
def test_an_error_for_the_user_is_told_with_its_hint_and_its_code(raises: Raises, capsys: Captured, slug: str) -> None:
    error, code = ERRORS[slug]
    raises(error)
    assert cli.run(["act"]) == code
    assert capsys.readouterr() == ("", "error: it broke\n hint: mend it\n")
    assert cli.run(["act", "--json"]) == code
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"] == {"code": slug, "message": "it broke", "hint": "mend it"}
    assert captured.err == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()], ids=["Ctrl-C", "abort"])
def test_an_interruption_is_130(raises: Raises, capsys: Captured, error: BaseException) -> None:
    raises(error)
    assert cli.run(["act"]) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted"
    assert cli.run(["act", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "interrupted"


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "the disk is full (/x)", "free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "Permission denied (/x)", "permissions"),
        (OSError("no number"), "no number", "try again"),
    ],
)
def test_what_the_system_refuses_is_told_without_a_traceback(
    raises: Raises, capsys: Captured, error: OSError, message: str, hint: str
) -> None:
    raises(error)
    assert cli.run(["act"]) == 1
    said = capsys.readouterr().err
    assert f"error: {message}\n" in said
    assert hint in said


def test_an_error_of_several_files_names_the_first() -> None:
    import shutil

    told = of_the_system(shutil.Error([("a", "b", "gone"), ("c", "d", "gone")]))
    assert told.message == "a cannot be copied: gone"
    assert of_the_system(shutil.Error("no list")).message == "no list"


def test_a_fault_of_ours_is_not_hidden(raises: Raises) -> None:
    raises(LookupError("no such thing"))
    with pytest.raises(LookupError):
        cli.run(["act"])


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_keeps_its_code(raises: Raises, code: int) -> None:
    raises(typer.Exit(code))
    assert cli.run(["act"]) == code


@pytest.mark.parametrize(
    ("arguments", "message", "path"),
    [
        (["act", "--nunber", "1"], "--nunber", "ocrvl act"),
        (["act", "--number", "many"], "valid integer", "ocrvl act"),
        (["act", "extra"], "extra", "ocrvl act"),
        (["atc"], "atc", "ocrvl"),
    ],
)
def test_typers_own_complaints_are_usage_errors_with_the_help_that_mends_them(
    raises: Raises, capsys: Captured, arguments: list[str], message: str, path: str
) -> None:
    raises(LookupError())
    assert cli.run([*arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "usage"
    assert message in error["message"]
    assert error["hint"] == f"{path} --help"
    assert cli.run(arguments) == 2
    assert error["message"] in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["runs"], ["data"]])
def test_a_command_that_needs_another_shows_its_help(capsys: Captured, arguments: list[str]) -> None:
    code = cli.run(arguments)
    captured = capsys.readouterr()
    assert code == 2
    assert "Usage: ocrvl" in captured.out + captured.err
    assert "error:" not in captured.out + captured.err


def test_the_version_is_printed_and_nothing_else(capsys: Captured) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ocrvl ")


def test_main_exits_with_the_code(raises: Raises) -> None:
    raises(data_error("it broke"))
    with pytest.raises(SystemExit) as caught:
        cli.main(["act"])
    assert caught.value.code == 3


def test_a_reader_that_went_away_is_no_error_however_much_is_printed() -> None:
    program = "from ocrvl_modal import cli\ncli.main(['recipe', 'show', 'default'])"
    done = subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    assert done.stdout and done.stderr
    with done:
        done.stdout.close()
        assert done.stderr.read() == b""
        assert done.wait(60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_result_that_cannot_be_written_is_told_without_a_traceback() -> None:
    program = "from ocrvl_modal import cli\ncli.main(['recipe', 'show', 'default', '--json'])"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith("error: the disk is full")
    assert "Traceback" not in done.stderr
