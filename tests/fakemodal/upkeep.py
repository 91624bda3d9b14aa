"""What the cloud does by itself: retries that fall due, time limits, background commits, apps that are left."""

from __future__ import annotations

import asyncio
import time
import traceback

from modal_proto import api_pb2 as api

from .containers import Container
from .objects import App
from .scheduling import Scheduler, failed

_EVERY_S = 0.2


async def keep_up(scheduler: Scheduler) -> None:
    """Look after everything until cancelled."""
    while True:
        await asyncio.sleep(_EVERY_S)
        try:
            await _look_after(scheduler)
        except Exception:  # noqa: BLE001 - one round that fails must not be the last
            traceback.print_exc()


async def _look_after(scheduler: Scheduler) -> None:
    for function in list(scheduler.cloud.functions.values()):
        if scheduler.has_queue(function):
            scheduler.start_containers(function)
    for container in [found for found in scheduler.containers.values() if found.alive]:
        scheduler.hurt_running(container)
        _enforce_time_limits(scheduler, container)
        await _commit_in_background(scheduler, container)
    for app in list(scheduler.cloud.apps.values()):
        _leave_app(scheduler, app)


def _enforce_time_limits(scheduler: Scheduler, container: Container) -> None:
    now, limit_s = time.time(), container.definition.timeout_secs
    for running in list(container.current.values()):
        if limit_s and now - running.started_at > limit_s:
            container.kill("timeout")
            text = f"Task's current input {running.id} hit its timeout of {limit_s}s"
            scheduler.finish(running, failed(text, api.GenericResult.GENERIC_STATUS_TIMEOUT))
    start_limit_s = container.definition.startup_timeout_secs or limit_s
    starting = container.process is not None and not container.asked and not container.stopping
    if starting and start_limit_s and now - container.started_at > start_limit_s:
        container.kill("startup_timeout")
        scheduler.start_failed(container, failed(f"Container did not start within {start_limit_s}s"))


async def _commit_in_background(scheduler: Scheduler, container: Container) -> None:
    due = time.time() - container.committed_at > scheduler.cloud.options.background_commit
    if container.process is None or container.stopping or not due:
        return
    container.committed_at = time.time()
    for mount in container.definition.volume_mounts:
        if mount.allow_background_commits:
            await asyncio.to_thread(container.volumes[mount.volume_id].push)


def _leave_app(scheduler: Scheduler, app: App) -> None:
    """An app whose client is silent ends if it is ephemeral; a detached one ends when it has nothing to do."""
    now, options = time.time(), scheduler.cloud.options
    silent = now - app.heartbeat_at > options.heartbeat_timeout
    if silent and app.state == api.APP_STATE_EPHEMERAL:
        scheduler.stop_app(app)
    elif silent and app.state == api.APP_STATE_DETACHED:
        app.state = api.APP_STATE_DETACHED_DISCONNECTED
    if app.state != api.APP_STATE_DETACHED_DISCONNECTED or scheduler.is_busy(app):
        app.busy_at = now
    elif now - app.busy_at > options.idle_timeout:
        scheduler.stop_app(app)
