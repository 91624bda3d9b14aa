"""The models store as a reader sees it: what lies there, where it came from, and whether it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.errors import OcrvlError, did_you_mean, not_found
from ocrvl_modal.fetched_models import COMPLETE, FetchedModel, parse_complete, problem_with
from ocrvl_modal.jobs.fetching.hub import is_repository
from ocrvl_modal.model_folders import folder_to_model
from ocrvl_modal.models import FAMILY_FILE, find_member
from ocrvl_modal.places import is_place

MODELS = "/models"


@dataclass(frozen=True)
class StoredModel:
    """A model that lies at a place. ``fetched`` is there for one that came from a hub.

    ``problem`` says why it is not whole, and nothing where it is, or where nothing tells.
    """

    place: str
    files: Mapping[str, int]
    fetched: FetchedModel | None
    problem: str | None

    @property
    def name(self) -> str:
        """Its folder's name."""
        return PurePosixPath(self.place).name

    @property
    def size_bytes(self) -> int:
        """The bytes of all its files."""
        return sum(self.files.values())

    @property
    def command(self) -> str:
        """The command that fetches it again."""
        return f"ocrvl download model {self.fetched.repository if self.fetched else folder_to_model(self.name)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the model as it stands in JSON output."""
        fetched = self.fetched
        return {
            "name": self.name,
            "place": self.place,
            "repository": fetched.repository if fetched else None,
            "revision": fetched.revision if fetched else None,
            "commit": fetched.commit if fetched else None,
            "size_bytes": self.size_bytes,
            "files": dict(self.files),
            "whole": self.problem is None if self.fetched or self.problem else None,
            "problem": self.problem or "",
        }


def look_at(backend: Backend, place: str) -> StoredModel | None:
    """Return the model at a place, or ``None`` where there is none. No weights are read."""
    stores = backend.stores
    files = {
        str(PurePosixPath(entry.place).relative_to(place)): entry.size_bytes or 0
        for entry in stores.walk(place)
        if entry.place != place
    }
    complete = stores.read_bytes(f"{place}/{COMPLETE}") if COMPLETE in files else None
    family = stores.read_bytes(f"{place}/{FAMILY_FILE}") if FAMILY_FILE in files else None
    if "config.json" not in files and complete is None:
        return None
    fetched = parse_complete(complete)
    return StoredModel(place, files, fetched, problem_with(files, complete, family))


def list_models(backend: Backend) -> list[StoredModel]:
    """Return every model in the models store, by name."""
    found = (look_at(backend, entry.place) for entry in backend.stores.list(MODELS) if entry.is_folder)
    return [model for model in found if model is not None]


def load_model(backend: Backend, name: str) -> StoredModel:
    """Return the model called ``name``: a family member, a repository, a folder of the models store, or a place.

    Raises *not found*, with the nearest name or the command that fetches it.
    """
    model = look_at(backend, place_of(name))
    if model is not None:
        return model
    message = f"there is no model '{name}' in the models store on the {backend.name} backend"
    if find_member(name) or is_repository(name):
        raise not_found(message, f"ocrvl download model {name}")
    known = [found.name for found in list_models(backend)]
    raise not_found(message, did_you_mean(name, known) if known else "ocrvl download model --help")


def place_of(name: str) -> str:
    """Return where the model called ``name`` lies, or would lie."""
    if is_place(name):
        return name.rstrip("/")
    member = find_member(name)
    return f"{MODELS}/{member.name if member else name.replace('/', '--')}"


def family_of(backend: Backend, model: StoredModel) -> str | None:
    """Return the name of the family member that a model belongs to; ``None`` for one of another kind."""
    try:
        return backend.identify_model(model.place).name
    except OcrvlError:
        return None
