"""A fake cloud for the tests of the fake cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fakemodal import FakeModal, why_not
from fakemodal.tests.client import SECRETS, modal_cli


@pytest.fixture
def cloud(start_fake_modal: Callable[..., FakeModal]) -> FakeModal:
    """A cloud with the secret that the sample app needs."""
    return start_fake_modal(secrets=SECRETS, heartbeat_timeout=20)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModal]:
    """One cloud with the sample app deployed, for all tests that mind only their own calls."""
    if reason := why_not():
        pytest.skip(reason)
    with FakeModal(tmp_path_factory.mktemp("cloud"), secrets=SECRETS, idle_timeout=1.5) as cloud:
        modal_cli(cloud, "deploy", "sample_app.py")
        yield cloud
