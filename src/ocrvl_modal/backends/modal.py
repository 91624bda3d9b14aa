"""Jobs on Modal: short ones are called and waited for; a training run is a detached app with one spawned call."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrvl_modal.app import (
    DEFAULT_READING_GPU,
    SHORT_JOBS,
    build_app,
    short_options,
    training_options,
    with_hardware,
)
from ocrvl_modal.backends.base import OnProgress, Pulse, RunSlot, StagedDataset, StopKind, Stores
from ocrvl_modal.backends.dataset_push import Asked, Desk, push
from ocrvl_modal.backends.dataset_store import find_stored, load_index
from ocrvl_modal.backends.image_builds import ImageBuilds
from ocrvl_modal.backends.modal_calls import app_is_running, call_and_wait, feel_pulse, running
from ocrvl_modal.backends.modal_stores import ModalStores
from ocrvl_modal.backends.modal_words import in_words, require_access, require_secrets
from ocrvl_modal.backends.reading import locate_model
from ocrvl_modal.backends.runs_view import find_run
from ocrvl_modal.data.shards.references import DatasetReference, name_for
from ocrvl_modal.errors import ExitCode, OcrvlError, not_found, usage_error
from ocrvl_modal.gpus import parse_gpu
from ocrvl_modal.image import get_image
from ocrvl_modal.jobs.fetching.hub import TOKEN
from ocrvl_modal.models import FAMILY_FILE, FamilyMember, find_member, identify_folder
from ocrvl_modal.places import is_place
from ocrvl_modal.recipes import TrainRecipe
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.record import RunRecord
from ocrvl_modal.settings import home
from ocrvl_modal.volumes import PLACES, VOLUMES

if TYPE_CHECKING:
    import modal

_IDENTITY_FILES = ("config.json", "chat_template.jinja", FAMILY_FILE)


class ModalBackend:
    """Implements :class:`ocrvl_modal.backends.base.Backend` on Modal."""

    name = "modal"
    poll_s = 2.0
    stops_on_interrupt = False

    def __init__(self) -> None:
        """Raise an error, within seconds, where Modal does not answer or does not know who asks."""
        require_access()
        self.places = PLACES
        self.stores: Stores = ModalStores()

    def where(self, store: str) -> str:
        """Return the store's volume."""
        volume = VOLUMES[store]
        return f"Modal volume {volume.name} (version {volume.version})"

    def describe(self, recipe: TrainRecipe) -> str:
        """Return, for the plan, what a run would run on."""
        hardware = recipe.hardware
        return f"Modal: {hardware.gpu or 'no GPU'}, {hardware.cpu:g} cores, {hardware.memory_gib} GiB"

    def with_hardware(self, recipe: TrainRecipe, member: FamilyMember) -> TrainRecipe:
        """Return the recipe with its GPU filled in; raise a usage error for what Modal would refuse."""
        recipe = with_hardware(recipe, member)
        require_secrets(training_options(recipe, member).secrets)
        require_secrets((recipe.hf_secret,) if recipe.hf_secret else (), (TOKEN,))
        if recipe.output_dir and not is_place(recipe.output_dir):
            raise usage_error(
                f"--output-dir {recipe.output_dir} is on this machine, where a run on Modal cannot write",
                f"--output-dir /models/{Path(recipe.output_dir).name}, then `ocrvl volume get` brings it here",
            )
        return recipe

    def devices(self, recipe: TrainRecipe) -> int:
        """Return how many processes a run trains with."""
        gpus = parse_gpu(recipe.hardware.gpu).count if recipe.hardware.gpu else 1
        return recipe.hardware.num_processes or gpus

    def require_ready(self, engine: str | None = None) -> None:
        """Return at once: that Modal answers was found when this backend was opened, and images have the engines."""

    def readable_path(self, reference: str, on_progress: OnProgress | None = None) -> Path | None:  # noqa: ARG002
        """Return where this machine reads a dataset; ``None`` for one in the data store, which a job must read."""
        if find_stored(self.stores, reference) is not None:
            return None
        if not is_place(reference):
            return Path(reference)
        if not self.stores.exists(reference):
            raise not_found(
                f"there is no {reference} in the data store on Modal",
                f"ocrvl volume ls /data, or name a file of this machine, such as ./{Path(reference).name}",
            )
        return None

    def identify_model(self, name: str) -> FamilyMember:
        """Return the member that the model at a place belongs to, by its few small files."""
        model = locate_model(self, name)
        with tempfile.TemporaryDirectory(prefix="ocrvl-model-") as folder:
            for file in _IDENTITY_FILES:
                place = f"{model}/{file}"
                if self.stores.exists(place):
                    Path(folder, file).write_bytes(self.stores.read_bytes(place))
            return identify_folder(Path(folder))

    def stage_datasets(self, datasets: Mapping[str, str], on_progress: OnProgress) -> dict[str, StagedDataset]:
        """Push the datasets of this machine, as one, unless the store has them; return how jobs name each."""
        staged = {split: self._in_the_store(reference) for split, reference in datasets.items()}
        here = {split: Path(datasets[split]) for split, found in staged.items() if found is None}
        found = {split: one for split, one in staged.items() if one is not None}
        if here:
            asked = Asked(name_for(next(iter(here.values()))), automatic=True)
            index = push(self.stores, here, asked, Desk.under(home()), on_progress).index
            for split in here:
                reference = DatasetReference(index.name, index.version, split)
                found[split] = StagedDataset(str(reference), index.splits[split].sha256)
        return {split: found[split] for split in datasets}

    def _in_the_store(self, reference: str) -> StagedDataset | None:
        """Return how jobs name a dataset that lies in the data store; ``None`` for one of this machine."""
        stored = find_stored(self.stores, reference)
        if stored is not None:
            return StagedDataset(str(stored), load_index(self.stores, stored).splits[stored.split].sha256)
        if self.readable_path(reference) is None:
            return StagedDataset(reference)
        return None

    def call(
        self,
        job: str,
        request: dict[str, Any],
        *,
        on_progress: OnProgress,
        gpu: str | None = None,
        image: str | None = None,
        secrets: tuple[str, ...] = (),
        local_secrets: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Run a short job in a container and return its result."""
        if SHORT_JOBS[job].reads and gpu is None:
            gpu = self._reading_gpu(request)
        chosen = get_image(image) if image else None
        options = short_options(job, gpu, os.environ, image=chosen, secrets=secrets, local_secrets=local_secrets)
        ready = ImageBuilds(self.stores).ready(options.image, on_progress)
        return call_and_wait(dataclasses.replace(options, image=ready), request, on_progress)

    def _reading_gpu(self, request: dict[str, Any]) -> str | None:
        """Return the GPU that reading with the asked models needs; the toy reads on a CPU."""
        models = request["models"].values() if "models" in request else [request["model"]]
        members = [find_member(Path(name).name) or self.identify_model(name) for name in models]
        return None if all(member.name == "tiny" for member in members) else DEFAULT_READING_GPU

    @contextmanager
    def reserve(self, name: str) -> Iterator[RunSlot]:
        """Take a run that nobody works on; what is started in vain is stopped again."""
        view = find_run(self, name)
        if view is not None and view.alive:
            raise usage_error(f"a call on Modal works on run '{name}'", f"ocrvl runs wait {name}")
        slot = _ModalSlot(name, self.stores)
        with slot.nothing_in_vain():
            yield slot

    def pulse(self, record: RunRecord) -> Pulse:
        """Ask Modal how the call of a run's newest attempt is."""
        attempt = record.attempt
        if attempt is None:
            return Pulse(alive=False)
        call_id = self._call_id(record)
        if call_id:
            return feel_pulse(call_id, attempt.app_id)
        alive = bool(attempt.app_id) and app_is_running(attempt.app_id)
        return Pulse(alive=alive, reason="" if alive else "its start was cut off before Modal took the call")

    def stop(self, record: RunRecord, kind: StopKind) -> None:  # noqa: ARG002 - Modal has one way to cancel
        """Cancel the run's call; the job saves a checkpoint when it hears of it."""
        import modal

        call_id = self._call_id(record)
        if call_id:
            with in_words():
                modal.FunctionCall.from_id(call_id).cancel()
        elif record.attempt and record.attempt.app_id:
            with in_words():
                modal.App.lookup(record.attempt.app_id).stop()

    def _call_id(self, record: RunRecord) -> str:
        """Return the call of the newest attempt: as the job wrote it down, or else as its starter did."""
        attempt = record.attempt
        if attempt is None or attempt.call_id:
            return attempt.call_id if attempt else ""
        place = _call_place(record.name, attempt.number)
        if not self.stores.exists(place):
            return ""
        return str(json.loads(self.stores.read_bytes(place))["call_id"])


class _ModalSlot:
    """The start of one run: first its app, then, when the record is written, its call."""

    def __init__(self, name: str, stores: Stores) -> None:
        self._name = name
        self._stores = stores
        self._stack = ExitStack()
        self._app: modal.App | None = None
        self._train: Any = None
        self._longest_s: int | None = None
        self._is_spawned = False

    @contextmanager
    def nothing_in_vain(self) -> Iterator[None]:
        """Keep the run's app for the length of a block; where that ends before there is a call, stop it."""
        try:
            with self._stack:
                yield
        except Exception:
            # What keeps the app in touch with this machine may fail; the call goes on without.
            if not self._is_spawned:
                self._stop()
                raise
        except KeyboardInterrupt:
            told, hint = f"nothing of '{self._name}' is left running", "the same command starts it again"
            if left := self._stop():
                told, hint = f"the app {left} of '{self._name}' may still run", f"modal app stop {left}"
            raise OcrvlError(f"interrupted: {told}", hint, ExitCode.INTERRUPTED) from None

    def _stop(self) -> str:
        """Stop the app; return its id where that failed."""
        if self._app is None or not self._app.app_id:
            return ""
        try:
            self._app.stop()
        except Exception:  # noqa: BLE001 - why it was to be stopped matters more
            return self._app.app_id
        return ""

    def prepare(self, recipe: TrainRecipe, member: FamilyMember, say: Callable[[str], None]) -> str:
        """Build the run's image where that is new, and start its app; return the app's id."""
        options = training_options(recipe, member)
        options = dataclasses.replace(
            options,
            image=ImageBuilds(self._stores).ready(options.image, lambda what, done, _: None if done else say(what)),
        )
        say("starting on Modal: volumes, app")
        self._longest_s = options.longest_s
        self._app, self._train = build_app(options, run=self._name)
        self._stack.enter_context(running(self._app, detach=True))
        return str(self._app.app_id)

    def spawn(self, request: dict[str, Any], attempt: int) -> str:
        """Spawn the call, and note it where every machine finds it."""
        try:
            with in_words():
                call = self._train.spawn({**request, "longest_s": self._longest_s})
        except Exception:
            # Modal may have taken it, and only its answer was lost.
            self._stop()
            raise
        note = json.dumps({"call_id": call.object_id}).encode()
        # Without the note, the app tells of the call until the job has written it down.
        with contextlib.suppress(OSError, OcrvlError):
            self._stores.write_bytes(_call_place(self._name, attempt), note)
        self._is_spawned = True
        return str(call.object_id)


def _call_place(name: str, attempt: int) -> str:
    layout = RunLayout.of(Path("/outputs"), name)
    return str(layout.attempt(attempt).call)
