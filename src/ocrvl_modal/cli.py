"""``ocrvl``: the commands put together, and the one place where an exception becomes words and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from ocrvl_modal._version import __version__
from ocrvl_modal.errors import ExitCode, OcrvlError, of_the_system

# Each command's function, or a group's app, by the module that it is in. Help shows them in this order.
_COMMANDS = {
    "quickstart": "quickstart:quickstart",
    "train": "train:train",
    "infer": "infer:infer",
    "eval": "evaluate:evaluate",
    "doctor": "doctor:doctor",
    "runs": "runs:app",
    "data": "data:app",
    "recipe": "recipe:app",
    "volume": "volume:app",
    "image": "image:app",
    "download": "download:app",
    "model": "model:app",
    "secret": "secret:app",
    "wheel": "wheel:app",
}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ocrvl {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune, score and serve PaddleOCR-VL, on this machine or on Modal's GPUs.

    New here? `ocrvl quickstart` trains a toy model on this machine, in minutes.
    """


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return the app with the one command that a command line begins with; with all where it begins otherwise.

    To bring in all of them takes longer than most of them run.
    """
    app = typer.Typer(
        name="ocrvl",
        help="Fine-tune, score and serve PaddleOCR-VL, on this machine or on Modal's GPUs.",
        no_args_is_help=True,
        # Plain help: the decorated one costs more time than all the rest of `ocrvl --help`.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    asked = [name for name in arguments[:1] if name in _COMMANDS]
    for name in asked or _COMMANDS:
        module, _, member = _COMMANDS[name].partition(":")
        command = getattr(import_module(f"ocrvl_modal.commands.{module}"), member)
        if member == "app":
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``ocrvl`` and exit."""
    _mend_standard_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(given))


def _mend_standard_streams() -> None:
    """Let nothing fail for want of a stream, or of a letter in the terminal's encoding."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; whatever the user can mend is told, never raised."""
    as_json = "--json" in arguments
    try:
        returned = app_for(arguments)(args=arguments, prog_name="ocrvl", standalone_mode=False)
        if returned == ExitCode.INTERRUPTED:
            # Typer has turned a Ctrl-C into this, and said nothing.
            raise KeyboardInterrupt
        return returned if isinstance(returned, int) else ExitCode.OK
    except OcrvlError as error:
        return _tell(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _tell(OcrvlError("interrupted", code=ExitCode.INTERRUPTED), as_json=as_json)
    except typer.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        return _reader_went_away()
    except SystemExit as done:
        # Typer leaves in this way where the reader went away.
        if isinstance(done.__context__, BrokenPipeError):
            return _reader_went_away()
        raise
    except OSError as error:
        return _tell(of_the_system(error), as_json=as_json)
    except Exception as error:
        usage = _as_usage_error(error)
        if usage is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(usage.message, file=sys.stderr)
            return usage.code
        return _tell(usage, as_json=as_json)


def _tell(error: OcrvlError, *, as_json: bool) -> int:
    from ocrvl_modal.output import show_error

    try:
        show_error(error, as_json=as_json)
    except OSError:
        # Standard output takes no more, as on a full disk: that is what went wrong.
        show_error(error, as_json=False)
    return error.code


def _as_usage_error(error: Exception) -> OcrvlError | None:
    """Turn Typer's own complaint about a command line into ours; its classes are private, so it goes by their shape."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "ocrvl"
    return OcrvlError(format_message(), f"{path} --help", ExitCode.USAGE)


def _reader_went_away() -> int:
    # Whoever read our output has closed it, as `head` does; Python would complain once more while it exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK
