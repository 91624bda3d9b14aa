"""A file server, and files that look like wheels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from transfer.server import Site, serve


@pytest.fixture
def site() -> Iterator[Site]:
    """A server that behaves well until it is told otherwise."""
    with serve() as site:
        yield site


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again at once."""
    monkeypatch.setattr("ocrvl_modal.transfer.patience.FIRST_DELAY_S", 0.001)
