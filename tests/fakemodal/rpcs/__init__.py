"""The RPCs of the Modal API, a module for each subject; a method named like an RPC answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fakemodal.cloud import Cloud
from fakemodal.scheduling import Scheduler

from .apps import Apps
from .calls import Calls
from .containers import Containers
from .dictionaries import Dictionaries
from .functions import Functions
from .images import Images
from .logs import Logs
from .queues import Queues
from .secrets import Secrets
from .volumes import Volumes
from .workspace import Workspace

_SUBJECTS = (
    Apps,
    Calls,
    Containers,
    Dictionaries,
    Functions,
    Images,
    Logs,
    Queues,
    Secrets,
    Volumes,
    Workspace,
)
# Called with the request and the container that it comes from; a generator of replies for a streaming RPC.
Answer = Callable[[Any, Any], Any]


def all_answers(cloud: Cloud, scheduler: Scheduler) -> dict[str, Answer]:
    """What answers each RPC, by its name."""
    subjects = [subject(cloud, scheduler) for subject in _SUBJECTS]
    return {name: getattr(subject, name) for subject in subjects for name in dir(subject) if name[0].isupper()}
