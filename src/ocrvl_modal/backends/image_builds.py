"""Building images on Modal, and where their framework wheel comes from: for `image build` and for every job."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ocrvl_modal.backends.base import OnProgress, Stores
from ocrvl_modal.backends.modal_calls import running
from ocrvl_modal.backends.modal_words import build_failed
from ocrvl_modal.backends.wheel_store import find_stored, push
from ocrvl_modal.building.account import account_key, builder_version
from ocrvl_modal.building.known import offline_outlook
from ocrvl_modal.building.on_modal import modal_layers
from ocrvl_modal.building.outlook import Outlook, look_ahead
from ocrvl_modal.building.recipe import INDEX, ImageRecipe, WheelSource
from ocrvl_modal.building.record import BuildRecord, Records, built, place_of, record_of
from ocrvl_modal.building.steps import Step
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.pins import FrameworkWheel
from ocrvl_modal.settings import home
from ocrvl_modal.wheels.folder import WHEELS_FOLDER, find_local
from ocrvl_modal.wheels.stored import StoredWheel, require_no_other

if TYPE_CHECKING:
    import modal


@dataclass(frozen=True)
class Build:
    """A build that ended well: the image's id, the steps that were built anew, and how long it took."""

    image: str
    image_id: str
    rebuilt: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the build as it stands in JSON output."""
        return {
            "name": self.image,
            "image_id": self.image_id,
            "rebuilt": list(self.rebuilt),
            "seconds": round(self.seconds, 1),
        }


class ImageBuilds:
    """The images of one workspace on Modal. Nothing is asked of Modal for an image that has no framework layer."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.records = Records(home(), account_key())
        self.builder = builder_version()

    def settled(self, recipe: ImageRecipe, say: Callable[[str], None]) -> ImageRecipe:
        """Return the recipe with its wheel's source: the store, where a file of this machine goes, or the index."""
        wanted = recipe.framework
        if wanted is None:
            return recipe
        stored = self._stored(wanted)
        local = find_local(WHEELS_FOLDER, wanted)
        if stored is not None and local is not None:
            require_no_other([stored], local.file_name, local.cuda, local.sha256)
        if stored is None and local is not None:
            say(f"{wanted.file_name} goes to the wheels store first, once")
            stored = push(self._stores, local)
            self._note(wanted, stored)
        if stored is None:
            return recipe.with_wheel(INDEX)
        return recipe.with_wheel(WheelSource("store", stored.place, stored.sha256, stored.size_bytes))

    def _stored(self, wanted: FrameworkWheel) -> StoredWheel | None:
        """Ask the wheels store for a wheel, and note the answer for plans that ask nothing."""
        stored = find_stored(self._stores, wanted)
        self._note(wanted, stored)
        return stored

    def _note(self, wanted: FrameworkWheel, stored: StoredWheel | None) -> None:
        known = stored and {"path": stored.place, "sha256": stored.sha256, "size_bytes": stored.size_bytes}
        self.records.note_wheel(wanted, known or None)

    def ready(self, recipe: ImageRecipe, on_progress: OnProgress) -> ImageRecipe:
        """Return the recipe as jobs run in it, built where it was not built before."""
        settled = self.settled(recipe, lambda said: on_progress(said, 0, 1))
        rebuilt = look_ahead(settled, self.builder, self.records.read(recipe.name)).rebuilt
        if rebuilt:
            what = f"building the image '{recipe.name}', from its layer '{rebuilt[0]}' on (minutes)"
            on_progress(what, 0, 1)
            self.build(settled)
            on_progress(what, 1, 1)
        return settled

    def outlook(self, recipe: ImageRecipe) -> Outlook:
        """Return what a build would do, as far as Modal and the wheels store tell."""
        if recipe.framework is not None:
            self._stored(recipe.framework)
        record = self._record(recipe.name)
        if record:
            self.records.write(record)
        return offline_outlook(recipe, self.records, self.builder)

    def build(self, recipe: ImageRecipe, *, force: bool = False, show: bool = False) -> Build:
        """Build an image whose wheel's source is settled, and keep a record of it.

        ``show`` passes on the lines of the build, on standard error. Raises an error with the layer's name and its last
        lines where a layer fails.
        """
        import modal

        before = self._record(recipe.name)
        began = time.monotonic()
        layers = modal_layers(recipe, self.builder, force=force)
        app = modal.App("ocrvl-image")
        with _shown(show), running(app):
            try:
                layers[-1][1].build(app)
            except modal.exception.ImageBuildError as error:
                self._keep_the_built(before, layers)
                failed = next(step.name for step, image in layers if _id(image) is None)
                raise build_failed(error.image_id, f"the layer '{failed}' of the image '{recipe.name}'") from error
        steps = [built(step, str(_id(image))) for step, image in layers]
        known = set(before.known) if before and not force else set()
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._keep(record_of(recipe.name, now, self.builder, recipe.base.reference, steps, before))
        rebuilt = tuple(step.name for step in steps if step.digest not in known)
        return Build(recipe.name, steps[-1].image_id, rebuilt, time.monotonic() - began)

    def _record(self, image: str) -> BuildRecord | None:
        """Return the newest record of this machine and the store."""
        here = self.records.read(image)
        place = place_of(image)
        there = BuildRecord.from_bytes(self._stores.read_bytes(place)) if self._stores.exists(place) else None
        return there.newer(here) if there else here

    def _keep(self, record: BuildRecord) -> None:
        self.records.write(record)
        # The image is built; what other machines know of it is a courtesy.
        with contextlib.suppress(OSError, OcrvlError):
            self._stores.write_bytes(place_of(record.image), record.to_bytes())

    def _keep_the_built(self, before: BuildRecord | None, layers: list[tuple[Step, modal.Image]]) -> None:
        """Note the steps before the one that failed: the next build takes them from the cache."""
        if before is None:
            return
        done = tuple(step.digest for step, image in layers if _id(image))
        self._keep(before.knowing(done))


def _id(image: modal.Image) -> str | None:
    """Return the id that an image has once it is built."""
    try:
        return image.object_id
    except AttributeError:
        return None


@contextmanager
def _shown(show: bool) -> Iterator[None]:
    """Pass on what Modal's client says of builds. It says so on standard output, which is for results."""
    if not show:
        yield
        return
    import modal

    with contextlib.redirect_stdout(sys.stderr), modal.enable_output():
        yield
