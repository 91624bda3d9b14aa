"""A recipe file that shows every key with its default, drawn from the recipe's own fields."""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel

from ocrvl_modal.recipes import TrainRecipe, dump_value

_COMMENT_WIDTH = 110
_HEADER = """\
# Every key of a recipe, with its default.
#
# Keep the lines that you change and drop the rest: a model and a method have defaults of their own (the learning
# rate of LoRA is one), and what a recipe says goes before them.
"""


def default_recipe_text() -> str:
    """Return a recipe file that holds every key with its default, each under what it is for."""
    lines = _key_lines(TrainRecipe, TrainRecipe().model_dump(mode="json"), indent="")
    return "\n".join([_HEADER, *lines]).rstrip() + "\n"


def _key_lines(model: type[BaseModel], values: dict[str, Any], *, indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        value = values[name]
        part = field.annotation
        if isinstance(value, dict) and isinstance(part, type):
            yield from _comment((part.__doc__ or "").partition("\n")[0].replace("``", "`"), indent)
            yield f"{indent}{name}:"
            yield from _key_lines(part, value, indent=f"{indent}  ")
            yield ""
        else:
            yield from _comment(f"{field.description}{_choices(part)}", indent)
            yield f"{indent}{name}: {dump_value(value)}"
            if not indent:
                yield ""


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _COMMENT_WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _choices(annotation: Any) -> str:
    words = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    return f" One of: {', '.join(words)}." if words else ""
