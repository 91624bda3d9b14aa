"""``ocrvl recipe``: look at the recipes that ship with ocrvl, take one, and check your own."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.errors import usage_error

if TYPE_CHECKING:
    from rich.table import Table

    from ocrvl_modal.models import FamilyMember
    from ocrvl_modal.recipe_schema import ModelPart, TrainRecipe

app = typer.Typer(no_args_is_help=True, help="See, copy and check recipes.")

DEFAULT = "default"
"""Names, where a recipe is shown, the one that holds every key with its default."""

NameArgument = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A name from `ocrvl recipe ls`, or a file.")]


@app.command()
def ls(json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the recipes that ship with ocrvl.

    \b
    Example:
      ocrvl recipe ls
    """
    from ocrvl_modal.configs import shipped_recipes, title_of
    from ocrvl_modal.output import Output

    out = Output.of("recipe ls", json=json, quiet=quiet)
    rows = []
    for name, path in shipped_recipes().items():
        recipe = _read(name)
        rows.append({"name": name, "model": recipe.model.name, "method": recipe.method, "title": title_of(path)})
    out.finish(
        {"recipes": rows},
        human=lambda: [_table(("NAME", "MODEL", "METHOD", "FOR"), (row.values() for row in rows))],
        hint="ocrvl recipe show NAME",
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE|default", help="`default` shows every key there is.")],
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Show every value that the run would have, instead of the file.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print a recipe as it was written, with its comments.

    \b
    Examples:
      ocrvl recipe show paddleocr-vl-1.6/text-lora
      ocrvl recipe show default > my.yaml
    """
    from ocrvl_modal.configs import find_recipe
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipe_text import default_recipe_text
    from ocrvl_modal.recipes import dump_recipe, recipe_from

    out = Output.of("recipe show", json=json, quiet=quiet)
    if resolved:
        text = dump_recipe(recipe_from({}) if name == DEFAULT else _read(name))
    elif name == DEFAULT:
        text = default_recipe_text()
    else:
        text = find_recipe(name).read_text(encoding="utf-8", errors="replace")
    if not json:
        # Past the console, which would fold long lines: what is printed must be the file.
        typer.echo(text, nl=False)
    out.finish({"name": name, "resolved": resolved, "text": text}, human=tuple)


@app.command()
def cp(
    name: NameArgument,
    destination: Annotated[
        Path | None, typer.Argument(metavar="[DEST]", help="File or folder to copy to; here where it is not given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy a recipe, to change it.

    \b
    Example:
      ocrvl recipe cp paddleocr-vl-1.6/text-lora my.yaml
    """
    from ocrvl_modal import files
    from ocrvl_modal.configs import find_recipe
    from ocrvl_modal.output import Output

    out = Output.of("recipe cp", json=json, quiet=quiet)
    source = find_recipe(name)
    target = destination or Path()
    if target.is_dir():
        target = target / source.name
    if target.exists() and not force:
        replace = shlex.join(["ocrvl", "recipe", "cp", name, str(target), "--force"])
        raise usage_error(f"{target} is there already", replace)
    files.write_bytes(target, source.read_bytes())
    out.finish(
        {"name": name, "path": str(target)},
        human=lambda: [str(target)],
        hint=shlex.join(["ocrvl", "recipe", "check", str(target)]),
    )


@app.command()
def check(
    name: NameArgument,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be given many times.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a recipe, and show where it differs from the defaults.

    \b
    Example:
      ocrvl recipe check my.yaml --set optimizer.learning_rate=1e-4
    """
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import TrainRecipe, dump_value, flatten

    out = Output.of("recipe check", json=json, quiet=quiet)
    given = sets or []
    recipe = _read(name, given)
    defaults = flatten(TrainRecipe())
    changes = [
        {"key": key, "value": value, "default": defaults[key]}
        for key, value in flatten(recipe).items()
        if value != defaults[key]
    ]
    rows = ((change["key"], dump_value(change["value"]), dump_value(change["default"])) for change in changes)
    train = ["ocrvl", "train", name, *(word for assignment in given for word in ("--set", assignment))]
    out.finish(
        {"name": name, "valid": True, "changes": changes, "recipe": recipe.model_dump(mode="json")},
        human=lambda: [
            _table(("KEY", "VALUE", "DEFAULT"), rows),
            f"{name} is sound; {len(changes)} keys differ from their defaults.",
        ],
        hint=shlex.join([*train, *([] if recipe.data.train else ["--data", "FILE"])]),
    )


def _read(reference: str, sets: Iterable[str] = ()) -> TrainRecipe:
    """Return a recipe as a run would have it; refuse what no run could be."""
    from ocrvl_modal.configs import find_recipe
    from ocrvl_modal.models import check_pairing
    from ocrvl_modal.recipes import read_recipe_file, recipe_from

    written = read_recipe_file(find_recipe(reference))
    recipe = recipe_from(written, sets)
    member = _member_of(recipe.model)
    if member is None:
        return recipe
    if recipe.engine != "auto":
        check_pairing(member, recipe.engine, recipe.method)
    return recipe_from(written, sets, family=member)


def _member_of(model: ModelPart) -> FamilyMember | None:
    """Return the member that a recipe tunes; ``None`` for a model in a store, which only its backend can look at."""
    from ocrvl_modal.models import member_of
    from ocrvl_modal.places import is_place

    if is_place(model.name) and not model.family:
        return None
    return member_of(model.name, Path(model.name), model.family)


def _table(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table
