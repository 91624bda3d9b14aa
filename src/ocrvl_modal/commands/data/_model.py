"""What the ``data`` commands mean by a model: whose image sizes, prompts and tokens count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ocrvl_modal.commands.data._paths import resolve

if TYPE_CHECKING:
    from ocrvl_modal.data.checking.lengths import CountMany
    from ocrvl_modal.models import FamilyMember

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Model whose image sizes and tokens count; the newest of the family by default."),
]


def find_family_member(model: str | None) -> FamilyMember:
    """Return the member that a name, or the folder of a model, stands for; the newest where none is named."""
    from ocrvl_modal.models import DEFAULT_MODEL, member_of

    name = model or DEFAULT_MODEL
    return member_of(name, resolve(name))


def find_counter(model: str | None) -> CountMany | None:
    """Return what counts tokens with the model's own tokenizer; ``None`` where that is not on this machine."""
    from ocrvl_modal.engines.tokens import batch_counter
    from ocrvl_modal.model_folders import model_path
    from ocrvl_modal.models import DEFAULT_MODEL
    from ocrvl_modal.places import Places
    from ocrvl_modal.settings import home

    return batch_counter(model_path(Places.under(home()), model or DEFAULT_MODEL))
