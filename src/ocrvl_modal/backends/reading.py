"""What reading and scoring need of a backend: a model by its name, a run's export, images that jobs can open."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.backends.model_store import look_at
from ocrvl_modal.backends.runs_view import RunView, place_of
from ocrvl_modal.data.sources import SourceImage
from ocrvl_modal.errors import not_found, usage_error
from ocrvl_modal.model_folders import model_place
from ocrvl_modal.models import find_member, get_member
from ocrvl_modal.places import is_place
from ocrvl_modal.runs.record import ACTIVE


def locate_model(backend: Backend, name: str) -> str:
    """Return the reference by which jobs find the model called ``name``: a family member, a place, or a folder.

    Raises *not found*, with the command that fetches it, where there is no model.
    """
    member = find_member(name)
    if member is None and not is_place(name):
        return _folder_of_this_machine(backend, name)
    place = model_place(member) if member else name.rstrip("/")
    found = look_at(backend, place)
    if found is None:
        hint = f"ocrvl download model {member.name}" if member else "ocrvl model ls"
        raise not_found(f"there is no model at {place} on the {backend.name} backend", hint)
    if found.problem:
        raise not_found(f"the model at {place} is not whole: {found.problem}", found.command)
    return place


def find_export(backend: Backend, view: RunView) -> str:
    """Return the place of a run's export; raise *not found*, with how the run stands, where it has none."""
    name = view.record.name
    place = place_of(name, "export")
    if backend.stores.exists(f"{place}/config.json"):
        return place
    hint = f"ocrvl runs wait {name}" if view.state in ACTIVE else f"ocrvl train --name {name}"
    raise not_found(
        f"run '{name}' has no export: it is {view.state}, at step {view.record.step} of {view.record.max_steps}", hint
    )


def files_at(backend: Backend, place: str) -> list[str]:
    """Return the places of all files at and below a place in a store; none where nothing is there."""
    if not backend.stores.exists(place):
        return []
    found: list[str] = []
    for entry in backend.stores.list(place):
        found += files_at(backend, entry.place) if entry.is_folder else [entry.place]
    return found


def image_request(backend: Backend, image: SourceImage) -> dict[str, Any]:
    """Return an image as the job takes it: by its path where the job sees the same files, else with its bytes."""
    if image.file is not None and (is_place(image.file) or backend.name == "local"):
        return {"name": image.name, "path": image.file}
    content = image.content if image.file is None else Path(image.file).read_bytes()
    return {"name": image.name, "content": b64encode(content or b"").decode("ascii")}


def _folder_of_this_machine(backend: Backend, name: str) -> str:
    folder = Path(name)
    if not (folder / "config.json").is_file():
        if "/" not in name and not folder.exists():
            get_member(name)
        raise not_found(f"there is no model in {name}: config.json is missing", "name a folder that holds a model")
    if backend.name != "local":
        raise usage_error(
            f"{name} is on this machine, and the {backend.name} backend cannot read it",
            f"ocrvl volume put {name} /models/{folder.absolute().name}",
        )
    return str(folder.absolute())
