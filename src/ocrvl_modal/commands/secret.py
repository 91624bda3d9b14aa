"""``ocrvl secret``: whether the secrets are there that a recipe or a download names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.errors import ExitCode, usage_error

if TYPE_CHECKING:
    from rich.table import Table

    from ocrvl_modal.upkeep.secret_checks import SecretCheck

app = typer.Typer(no_args_is_help=True, help="Look whether secrets are there; no value is ever shown.")


@app.callback()
def secret() -> None:
    """Look whether secrets are there; no value is ever shown."""


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME[=KEY,KEY]…", help="Secrets of Modal, each with the keys that it must have."),
    ] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="FILE", help="Check those of a recipe.")] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say which secrets are there, and which keys they lack; on this machine, which variables are set.

    Ends with exit code 5 where one is missing.

    \b
    Example:
      ocrvl secret check huggingface=HF_TOKEN
      ocrvl secret check --recipe text-lora
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.configs import find_recipe
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import read_recipe_file, recipe_from
    from ocrvl_modal.upkeep.secret_checks import check_secrets, secrets_of

    out = Output.of("secret check", json=json, quiet=quiet)
    wanted = secrets_of(recipe_from(read_recipe_file(find_recipe(recipe)))) if recipe else {}
    wanted |= dict(_parse(text) for text in names or ())
    if not names and not recipe:
        raise usage_error("no secret is named", "ocrvl secret check huggingface=HF_TOKEN, or --recipe FILE")
    checks = check_secrets(open_by_flag(backend), wanted)
    missing = [check for check in checks if not check.is_there]
    out.finish(
        {"secrets": [check.to_dict() for check in checks]},
        human=lambda: [_table(checks) if checks else f"{recipe} names no secret"],
        hint=missing[0].hint if missing else "",
        exit_code=ExitCode.NOT_FOUND if missing else ExitCode.OK,
    )


def _parse(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, keys = text.partition("=")
    if not name:
        raise usage_error(f"'{text}' names no secret", "NAME, or NAME=KEY,KEY")
    return name, tuple(key for key in keys.split(",") if key)


def _table(checks: list[SecretCheck]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("secret", "keys", "there"):
        table.add_column(header, overflow="fold")
    for check in checks:
        table.add_row(*map(Text, (check.name, ", ".join(check.keys), check.problem or "yes")))
    return table
