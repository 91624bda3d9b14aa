"""What lies in the stores and is of no more use: a finder for each kind, which also judges a place anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath

from ocrvl_modal import locks
from ocrvl_modal.backends.base import Backend, StoreEntry
from ocrvl_modal.backends.dataset_store import list_datasets
from ocrvl_modal.backends.model_store import MODELS, look_at
from ocrvl_modal.backends.runs_view import RunView, list_runs, load_recipe, place_of
from ocrvl_modal.data.shards.index import CLAIMS, DATASETS, SHARDS, DatasetIndex
from ocrvl_modal.data.shards.references import parse_reference
from ocrvl_modal.jobs.datasets import UNPACKED, unpacked_name
from ocrvl_modal.jobs.fetching.repository import lock_file
from ocrvl_modal.pins import FRAMEWORK_WHEELS
from ocrvl_modal.places import STORE_NAMES
from ocrvl_modal.recipes import TrainRecipe
from ocrvl_modal.runs.checkpoints import COMPLETE
from ocrvl_modal.runs.layout import checkpoint_step
from ocrvl_modal.runs.record import now
from ocrvl_modal.wheels.manifest import is_digest
from ocrvl_modal.wheels.stored import wheels_among

UPLOADS = "/data/uploads"

AT_WORK = timedelta(hours=1)
"""Where nothing tells whether a writer is alive, what changed within this time may belong to one."""

_LONGEST_PUSH = timedelta(hours=24)
_UNPACKED_PLACE = f"/data/{UNPACKED}"
_LEFTOVER_ENDINGS = (".tmp", ".removing")
_PROBE = ".ocrvl-probe-"


@dataclass(frozen=True)
class Wanted:
    """How much is kept: what changed within ``older_than``, and the newest ``keep`` checkpoints of each run."""

    older_than: timedelta
    keep: int


class Look:
    """The stores as they are at one moment: each is asked once, or, ``narrow``, only for places that are looked at."""

    def __init__(self, backend: Backend, wanted: Wanted, *, narrow: bool = False) -> None:
        self.backend = backend
        self.wanted = wanted
        self.moment: datetime = now()
        self._narrow = narrow
        self._walked: dict[str, Sequence[StoreEntry]] = {}

    def files(self, place: str) -> Sequence[StoreEntry]:
        """Return all files at and below a place."""
        root = place if self._narrow else f"/{PurePosixPath(place).parts[1]}"
        if root not in self._walked:
            self._walked[root] = self.backend.stores.walk(root)
        return [entry for entry in self._walked[root] if entry.place == place or entry.place.startswith(f"{place}/")]

    def below(self, place: str) -> list[str]:
        """Return the places one step below a place, by the files in them."""
        depth = len(PurePosixPath(place).parts) + 1
        found = (str(PurePosixPath(*PurePosixPath(entry.place).parts[:depth])) for entry in self.files(place))
        return list(dict.fromkeys(found))

    def is_old(self, place: str, at_least: timedelta = timedelta()) -> bool:
        """Say whether nothing at or below a place changed within the time that is kept."""
        newest = max((entry.modified_at for entry in self.files(place)), default=self.moment)
        kept = max(self.wanted.older_than, at_least)
        # The clock of a file system may be a little ahead.
        return not kept or newest <= self.moment - kept

    @cached_property
    def runs(self) -> dict[str, RunView]:
        """All runs, by name. Raises where one cannot be read: nobody can say then what it needs."""
        views, errors = list_runs(self.backend)
        if errors:
            raise errors[0]
        return {view.record.name: view for view in views}

    @cached_property
    def datasets(self) -> list[DatasetIndex]:
        """All datasets that lie in shards. Raises where one cannot be read: nobody can say then what it needs."""
        found, errors = list_datasets(self.backend.stores)
        if errors:
            raise errors[0]
        return found

    @cached_property
    def recipes(self) -> dict[str, TrainRecipe]:
        """The recipes of all runs."""
        return {name: load_recipe(self.backend, name) for name in self.runs}


@dataclass(frozen=True)
class Finder:
    """Finds garbage of one kind.

    ``candidates`` names places that may be; ``judge`` returns why a place is of no more use, or ``None`` where it may
    be of some. It is asked again right before the place is removed.
    """

    kind: str
    candidates: Callable[[Look], Iterable[str]]
    judge: Callable[[Look, str], str | None]


def _checkpoint_places(look: Look) -> Iterator[str]:
    for name in look.runs:
        yield from look.below(place_of(name, "checkpoints"))
        yield from look.below(place_of(name, "checkpoints-set-aside"))


def _judge_checkpoint(look: Look, place: str) -> str | None:
    """A run that has ended, or goes on later, needs its newest complete checkpoint, and a child its parent's."""
    folder = PurePosixPath(place)
    view = look.runs.get(folder.parts[2])
    if view is None or not view.ended or not look.is_old(place) or _is_begun_from(look, place):
        return None
    if folder.parent.name == "checkpoints-set-aside":
        return "was set aside by its run, and is never loaded"
    complete = [step for step in map(_step_if_complete(look), look.below(str(folder.parent))) if step is not None]
    step = _step_if_complete(look)(place)
    if step is None:
        return "was not saved to its end" if checkpoint_step(Path(place)) is not None and complete else None
    kept = sorted(complete)[-look.wanted.keep :]
    return None if step in kept else f"is older than checkpoint-{kept[0]} of its run, which is {view.state}"


def _is_begun_from(look: Look, place: str) -> bool:
    """Say whether a run that is not done began at this checkpoint, or tunes what is in it."""
    others = [name for name, view in look.runs.items() if view.state != "done"]
    named = [look.runs[name].record.resumed_from or "" for name in others]
    named += [look.recipes[name].model.name for name in others]
    return any(one == place or one.startswith(f"{place}/") for one in named)


def _step_if_complete(look: Look) -> Callable[[str], int | None]:
    """Return what tells a checkpoint's step, where its files have the sizes that its manifest lists."""

    def step_of(place: str) -> int | None:
        sizes = {entry.place.removeprefix(f"{place}/"): entry.size_bytes for entry in look.files(place)}
        if COMPLETE not in sizes:
            return None
        try:
            listed = json.loads(look.backend.stores.read_bytes(f"{place}/{COMPLETE}"))["files"]
            whole = all(sizes.get(name) == of["size_bytes"] for name, of in listed.items())
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return checkpoint_step(Path(place)) if whole else None

    return step_of


def _upload_places(look: Look) -> Iterator[str]:
    yield from look.below(UPLOADS)
    yield from (index.place for index in look.datasets if index.automatic)


def _judge_upload(look: Look, place: str) -> str | None:
    """A dataset that was uploaded for a run is made again from the user's own files."""
    if place.startswith(f"{DATASETS}/") and not any(
        index.place == place and index.automatic for index in look.datasets
    ):
        return None
    named = [_folder_of(reference) for recipe in look.recipes.values() for reference in _data_of(recipe)]
    if any(folder == place or folder.startswith(f"{place}/") for folder in named):
        return None
    return "no run's recipe names it" if look.is_old(place, AT_WORK) else None


def _data_of(recipe: TrainRecipe) -> list[str]:
    data = recipe.data
    return [reference for reference in (data.train, data.validation, data.test) if reference]


def _folder_of(reference: str) -> str:
    """Return the folder in the data store that a dataset's reference leads to; any other path as it is."""
    named = parse_reference(reference)
    return str(PurePosixPath(named.index_place).parent) if named and named.version else reference


def _shard_places(look: Look) -> Iterator[str]:
    yield from (entry.place for entry in look.files(SHARDS))


def _judge_shard(look: Look, place: str) -> str | None:
    """A push that is at work brings shards before the index that names them."""
    if any(shard.place == place for index in look.datasets for shard in index.shards):
        return None
    pushing = any(not look.is_old(entry.place, _LONGEST_PUSH) for entry in look.files(CLAIMS))
    return None if pushing or not look.is_old(place, AT_WORK) else "no dataset names it"


def _unpacked_places(look: Look) -> Iterator[str]:
    yield from (place for place in look.below(_UNPACKED_PLACE) if not place.endswith(".lock"))


def _judge_unpacked(look: Look, place: str) -> str | None:
    at_work = [look.recipes[name] for name, view in look.runs.items() if not view.ended]
    named = {_folder_of(reference) for recipe in at_work for reference in _data_of(recipe)}
    if any(unpacked_name(index) == PurePosixPath(place).name for index in look.datasets if index.place in named):
        return None
    return "is an unpacked copy of what is in shards" if look.is_old(place, AT_WORK) else None


def _arriving_places(look: Look) -> Iterator[str]:
    for store in ("data", "models"):
        for place in look.below(f"/{store}"):
            name = PurePosixPath(place).name
            if name.startswith(".") and name.endswith(".part"):
                yield place
    for cuda in look.below("/wheels/.arriving"):
        yield from (place for place in look.below(cuda) if place.endswith((".part", ".part.json", ".whl")))
    yield from (place for place in look.below(MODELS) if not PurePosixPath(place).name.startswith("."))


def _judge_arriving(look: Look, place: str) -> str | None:
    path = PurePosixPath(place)
    if not path.name.startswith(".") and path.parent == PurePosixPath(MODELS):
        model = look_at(look.backend, place)
        was_cut_off = model is not None and model.problem is not None and model.fetched is None
        return "is what a crash left of a download" if was_cut_off and look.is_old(place, AT_WORK) else None
    if look.backend.name == "local" and path.suffix != ".whl":
        alive = _is_locked(look.backend.places.resolve(place))
    else:
        alive = not look.is_old(place, AT_WORK)
    return None if alive or not look.is_old(place) else "its download was broken off"


def _is_locked(arriving: Path) -> bool:
    """Say whether a process of this machine is at work on what arrives: it holds the file, or the folder's lock."""
    if arriving.is_file():
        return locks.is_held(arriving.with_name(arriving.name.removesuffix(".json")))
    name = arriving.name.removeprefix(".").removesuffix(".part").rpartition(".")[0]
    return locks.is_held(lock_file(arriving.with_name(name)))


def _wheel_places(look: Look) -> Iterator[str]:
    yield from (place for place in look.below("/wheels") if is_digest(PurePosixPath(place).name))


def _judge_wheel(look: Look, place: str) -> str | None:
    here = wheels_among((entry.place, entry.size_bytes or 0) for entry in look.files(place))
    if any(wheel.is_build_of(wanted) for wheel in here for wanted in FRAMEWORK_WHEELS.values()):
        return None
    reason = "no image pins it" if here else "did not come whole"
    return reason if look.is_old(place, AT_WORK) else None


def _leftover_places(look: Look) -> Iterator[str]:
    found: dict[str, None] = {}
    for store in STORE_NAMES:
        for entry in look.files(f"/{store}"):
            parts = PurePosixPath(entry.place).parts
            depth = next((number for number, part in enumerate(parts) if _is_leftover(part)), None)
            if depth is not None:
                found[str(PurePosixPath(*parts[: depth + 1]))] = None
    yield from found


def _judge_leftover(look: Look, place: str) -> str | None:
    parts = PurePosixPath(place).parts
    view = look.runs.get(parts[2]) if parts[1] == "outputs" else None
    if (view is not None and not view.ended) or not look.is_old(place, AT_WORK):
        return None
    return "is what a crash left of a write"


def _is_leftover(name: str) -> bool:
    return name.startswith(_PROBE) or (name.startswith(".") and name.endswith(_LEFTOVER_ENDINGS))


FINDERS = (
    Finder("checkpoint", _checkpoint_places, _judge_checkpoint),
    Finder("upload", _upload_places, _judge_upload),
    Finder("shard", _shard_places, _judge_shard),
    Finder("unpacked", _unpacked_places, _judge_unpacked),
    Finder("download", _arriving_places, _judge_arriving),
    Finder("wheel", _wheel_places, _judge_wheel),
    Finder("leftover", _leftover_places, _judge_leftover),
)
"""All kinds of garbage; another kind is another row."""
