"""Where models lie in the models store, by the names that people call them by, and whether one is whole."""

from __future__ import annotations

from pathlib import Path

from ocrvl_modal.errors import OcrvlError, not_found
from ocrvl_modal.fetched_models import parse_complete, problem_with_folder, read_complete
from ocrvl_modal.models import FamilyMember, find_member
from ocrvl_modal.places import Places


def model_place(member: FamilyMember) -> str:
    """Return the place of a family member in the models store."""
    return f"/models/{member.name}"


def model_path(places: Places, name: str) -> Path:
    """Return where the model called ``name`` lies, or would lie: a family member, a place in a store, or a folder."""
    member = find_member(name)
    return places.resolve(model_place(member) if member else name)


def model_folder(places: Places, name: str) -> Path:
    """Return the folder of the model called ``name``, which is there and whole; see :func:`model_path`.

    Raises *not found*, with the command that fetches it, where there is no model.
    """
    member = find_member(name)
    folder = model_path(places, name)
    if not (folder / "config.json").is_file():
        if member:
            raise not_found(f"{member.name} is not in the models store", f"ocrvl download model {member.name}")
        raise not_found(f"there is no model in {name}: config.json is missing", "ocrvl volume ls /models")
    if problem := problem_with_folder(folder):
        raise not_whole(name, problem, read_complete(folder))
    return folder


def not_whole(name: str, problem: str, complete: bytes | None) -> OcrvlError:
    """Return the error of a model that a crash left behind, or that lost files since; its command mends it."""
    fetched = parse_complete(complete)
    again = fetched.repository if fetched else folder_to_model(Path(name).name)
    return not_found(f"the model {name} is not whole: {problem}", f"ocrvl download model {again}")


def folder_to_model(folder: str) -> str:
    """Return what ``ocrvl download model`` calls the model in a folder of the models store."""
    return folder.replace("--", "/", 1)
