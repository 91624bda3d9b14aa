"""What all subjects have in common."""

from __future__ import annotations

from typing import Any

from fakemodal.cloud import Cloud
from fakemodal.containers import Container
from fakemodal.scheduling import Scheduler

# The container that an RPC comes from; None for a client.
From = Container | None
Request = Any  # the message that the RPC's name says


class Subject:
    """A group of RPCs."""

    def __init__(self, cloud: Cloud, scheduler: Scheduler) -> None:
        self.cloud, self.scheduler = cloud, scheduler
