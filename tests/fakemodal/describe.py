"""The state of the cloud as JSON, for tests to look at."""

from __future__ import annotations

from typing import Any

from modal_proto import api_pb2 as api

from .cloud import Cloud, as_json
from .objects import App, Call, Input
from .scheduling import Scheduler


def describe(cloud: Cloud, scheduler: Scheduler) -> dict[str, Any]:
    return {
        "apps": [_app(app) for app in cloud.apps.values()],
        "functions": [
            {
                "id": function.id,
                "name": function.name,
                "app": function.app_id,
                "base": function.base,
                "definition": as_json(function.definition),
            }
            for function in cloud.functions.values()
        ],
        "calls": [_call(call, scheduler) for call in cloud.calls.values()],
        "containers": [
            {"id": each.id, "function": each.function.name, "alive": each.alive, "reason": each.stop_reason}
            for each in scheduler.containers.values()
        ],
        "volumes": {
            volume.name or volume.id: {
                "id": volume.id,
                "version": volume.version,
                "commits": volume.commits,
                "reloads": volume.reloads,
                "path": str(volume.folder),
            }
            for volume in cloud.store.volumes.values()
        },
        "unimplemented": dict(cloud.unimplemented),
    }


def _app(app: App) -> dict[str, Any]:
    return {
        "id": app.id,
        "name": app.name,
        "deployed_name": app.deployed_name,
        "state": api.AppState.Name(app.state),
        "created_with": api.AppState.Name(app.created_with),
        "disconnect": app.disconnect,
        "version": app.version,
        "tags": app.tags,
        "functions": app.function_ids,
    }


def _call(call: Call, scheduler: Scheduler) -> dict[str, Any]:
    return {
        "id": call.id,
        "function": scheduler.function_of(call).name,
        "app": call.app_id,
        "invocation": api.FunctionCallInvocationType.Name(call.invocation),
        "cancelled": call.cancelled,
        "inputs": [_input(each) for each in call.inputs],
    }


def _input(each: Input) -> dict[str, Any]:
    status = api.GenericResult.GenericStatus
    return {
        "id": each.id,
        "status": each.status,
        "attempts": each.attempts,
        "retry_count": each.retry_count,
        "result": status.Name(each.result.status) if each.result else None,
    }
