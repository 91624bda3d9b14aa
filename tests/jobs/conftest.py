"""A house in which runs take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.standin import House, export_nothing_but_the_weights
from ocrvl_modal import locks
from ocrvl_modal.backends import prompts
from ocrvl_modal.jobs import train


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A home with a model and a dataset, where the training job finds the stand-in engine."""
    house = House(tmp_path / "home")
    house.furnish()
    monkeypatch.setattr(train, "get_engine", lambda _: house.engine)
    monkeypatch.setattr(train, "export_model", export_nothing_but_the_weights)
    for place in (train, prompts):
        monkeypatch.setattr(place, "check_prompt_identity", lambda *_: None)
    monkeypatch.setattr(locks, "_PROBE_GRACE_S", 0.05)
    return house
