"""From which checkpoint an attempt goes on: the one that was asked for, the run's newest, or another run's."""

from __future__ import annotations

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.places import Places
from ocrvl_modal.runs import checkpoints
from ocrvl_modal.runs.checkpoints import Checkpoint
from ocrvl_modal.runs.layout import RunLayout


def choose_checkpoint(layout: RunLayout, places: Places, asked: str | None, origin: str | None) -> Checkpoint | None:
    """Return where to go on; ``None`` to begin from the base model.

    ``asked`` is a checkpoint that the user wants the run to go back to: newer ones of its own are set aside then.
    ``origin`` is that of another run, which counts while the run has none of its own.
    """
    if asked is not None:
        return _go_back(layout, places, asked)
    newest, notes = checkpoints.newest_sound_checkpoint(layout)
    for note in notes:
        print(note, flush=True)
    return newest or (_sound(layout, places, origin) if origin else None)


def _go_back(layout: RunLayout, places: Places, asked: str) -> Checkpoint:
    chosen = _sound(layout, places, asked)
    for own in checkpoints.complete_checkpoints(layout):
        if own.step > chosen.step:
            checkpoints.set_aside(layout, own.path)
    return chosen


def _sound(layout: RunLayout, places: Places, reference: str) -> Checkpoint:
    folder = places.resolve(reference)
    problem = checkpoints.problem_with(folder, digests=True)
    if problem:
        raise OcrvlError(f"{folder} cannot be resumed from: {problem}", f"ocrvl runs show {layout.name}")
    return checkpoints.read_complete(folder)
