"""Prompt identity before anything is submitted: where the model's own files are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocrvl_modal.data.schema import Finding
from ocrvl_modal.engines.libraries import is_installed
from ocrvl_modal.engines.prompt_identity import (
    LIBRARIES,
    Pieces,
    check_prompt_identity,
    own_pieces,
    prompt_identity_findings,
)
from ocrvl_modal.model_folders import model_path
from ocrvl_modal.models import FamilyMember
from ocrvl_modal.places import Places


def check_prompts(places: Places, model: str, member: FamilyMember, prompts: Sequence[str], pieces: Pieces) -> None:
    """Raise an error where the model is on this machine and an engine would ask it otherwise than its own files say.

    The job compares in any case, before the engine starts.
    """
    folder = _folder_of(places, model)
    if folder is not None and not missing_libraries():
        check_prompt_identity(folder, member, prompts, pieces)


def find_in_prompts(
    places: Places, model: str, member: FamilyMember, prompts: Sequence[str]
) -> tuple[tuple[Finding, ...], str]:
    """Return what differs between our prompts and the model's own, and why nothing was compared, if nothing was."""
    folder = _folder_of(places, model)
    if folder is None:
        return (), f"prompts were not compared: {model} is not on this machine"
    if missing := missing_libraries():
        return (), f"prompts were not compared: {', '.join(missing)} is missing (pip install 'ocrvl-modal[local]')"
    return prompt_identity_findings(folder, member, prompts, own_pieces), ""


def missing_libraries() -> list[str]:
    """Return what would have to be installed to compare prompts."""
    return [name for name in LIBRARIES if not is_installed(name)]


def _folder_of(places: Places, model: str) -> Path | None:
    folder = model_path(places, model)
    return folder if (folder / "config.json").is_file() else None
