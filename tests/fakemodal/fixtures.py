"""The fake cloud as pytest fixtures; the top conftest imports them, so that every test can have one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from . import FakeModal
from .isolation import why_not

# The containers have what this Python has, except the project: its code must ship itself.
DEFAULTS = {"without": ["ocrvl-modal"], "container_env": ["OMP_NUM_THREADS=1"], "idle_timeout": 1.5}


@pytest.fixture
def start_fake_modal(tmp_path: Path) -> Iterator[Callable[..., FakeModal]]:
    """Starts fake clouds with options of one's own; they end with the test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    started: list[FakeModal] = []
    with ExitStack() as stack:

        def start(**options: Any) -> FakeModal:
            state = tmp_path / f"cloud-{len(started)}"
            started.append(stack.enter_context(FakeModal(state, **{**DEFAULTS, **options})))
            return started[-1]

        yield start
        broken = [record for cloud in started for record in cloud.rpcs(status="INTERNAL")]
    assert not broken, broken


@pytest.fixture
def fake_modal(start_fake_modal: Callable[..., FakeModal]) -> FakeModal:
    """One fake cloud."""
    return start_fake_modal()
