"""Apps: how they are made, published, found, tagged, left and stopped."""

from __future__ import annotations

import time

from modal_proto import api_pb2 as api

from fakemodal.cloud import missing
from fakemodal.layout import app_layout, app_lifecycle, app_metadata
from fakemodal.objects import App

from .subject import From, Request, Subject

_PAGE = "https://fake.modal.invalid/apps"


class Apps(Subject):
    def AppCreate(self, request: Request, container: From) -> api.AppCreateResponse:
        self.cloud.check_environment(request.environment_name)
        app = self._new(request.description, request.app_state, dict(request.tags))
        page = f"{_PAGE}/{app.id}"
        return api.AppCreateResponse(app_id=app.id, app_page_url=page, app_logs_url=page)

    def AppGetOrCreate(self, request: Request, container: From) -> api.AppGetOrCreateResponse:
        self.cloud.check_environment(request.environment_name)
        name = request.app_name
        app = self.cloud.apps.get(self.cloud.deployed.get(name, name))
        if app is None:
            if request.object_creation_type != api.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
                raise missing(f"App '{name}' not found in environment '{self.cloud.options.environment}'")
            app = self._new(name, api.APP_STATE_DEPLOYED, {})
            app.deployed_name = name
            self.cloud.deployed[name] = app.id
        return api.AppGetOrCreateResponse(app_id=app.id, handle_metadata=app_metadata(self.cloud, app))

    def AppGetByDeploymentName(self, request: Request, container: From) -> api.AppGetByDeploymentNameResponse:
        self.cloud.check_environment(request.environment_name)
        found = api.AppGetByDeploymentNameResponse(environment_name=self.cloud.options.environment)
        previous = [app for app in self.cloud.apps.values() if app.deployed_name == request.name]
        if request.name in self.cloud.deployed:
            found.app_id = self.cloud.deployed[request.name]
            found.lifecycle.CopyFrom(app_lifecycle(self.cloud.apps[found.app_id]))
        elif previous:
            found.previous_app_id = previous[-1].id
            found.lifecycle.CopyFrom(app_lifecycle(previous[-1]))
        return found

    def AppGetLifecycle(self, request: Request, container: From) -> api.AppGetLifecycleResponse:
        return api.AppGetLifecycleResponse(lifecycle=app_lifecycle(self._app(request)))

    def AppGetInfo(self, request: Request, container: From) -> api.AppGetInfoResponse:
        return api.AppGetInfoResponse(info=app_metadata(self.cloud, self._app(request)))

    def AppGetLayout(self, request: Request, container: From) -> api.AppGetLayoutResponse:
        return api.AppGetLayoutResponse(app_layout=app_layout(self.cloud, self._app(request)))

    def AppPublish(self, request: Request, container: From) -> api.AppPublishResponse:
        app = self._app(request)
        app.function_ids, app.class_ids = dict(request.function_ids), dict(request.class_ids)
        app.state, app.version = request.app_state, app.version + 1
        if request.app_state == api.APP_STATE_DEPLOYED:
            app.name = app.deployed_name = request.name
            app.deployed_at = time.time()
            app.tags = dict(request.tags)
            self.cloud.deployed[request.name] = app.id
        return api.AppPublishResponse(url=f"{_PAGE}/{app.id}", deployed_at=app.deployed_at)

    def AppHeartbeat(self, request: Request, container: From) -> None:
        self._app(request).heartbeat_at = time.time()

    def AppClientDisconnect(self, request: Request, container: From) -> None:
        app = self._app(request)
        app.disconnect = api.AppDisconnectReason.Name(request.reason)
        self.cloud.event("disconnect", app=app.id, reason=app.disconnect, state=api.AppState.Name(app.state))
        if app.state == api.APP_STATE_DETACHED:
            app.state = api.APP_STATE_DETACHED_DISCONNECTED
        elif app.state not in (api.APP_STATE_DEPLOYED, api.APP_STATE_STOPPED):
            self.scheduler.stop_app(app)

    def AppStop(self, request: Request, container: From) -> None:
        self.scheduler.stop_app(self._app(request))

    def AppSetTags(self, request: Request, container: From) -> None:
        self._app(request).tags = dict(request.tags)

    def AppGetTags(self, request: Request, container: From) -> api.AppGetTagsResponse:
        return api.AppGetTagsResponse(tags=self._app(request).tags)

    def AppList(self, request: Request, container: From) -> api.AppListResponse:
        self.cloud.check_environment(request.environment_name)
        found = api.AppListResponse()
        for app in self.cloud.apps.values():
            tasks = [each for each in self.scheduler.containers.values() if each.function.app_id == app.id]
            found.apps.add(
                app_id=app.id,
                description=app.name,
                name=app.deployed_name,
                state=app.state,
                created_at=app.created_at,
                stopped_at=app.stopped_at,
                n_running_tasks=sum(each.alive for each in tasks),
                metadata=app_metadata(self.cloud, app),
            )
        return found

    def AppDeploymentHistory(self, request: Request, container: From) -> api.AppDeploymentHistoryResponse:
        app = self._app(request)
        return api.AppDeploymentHistoryResponse(
            app_deployment_histories=[
                api.AppDeploymentHistory(app_id=app.id, version=version + 1, deployed_at=app.deployed_at)
                for version in range(app.version)
            ]
        )

    def _app(self, request: Request) -> App:
        return self.cloud.find(self.cloud.apps, request.app_id)

    def _new(self, name: str, state: api.AppState.ValueType, tags: dict[str, str]) -> App:
        app = App(self.cloud.new_id("ap"), name, state, state, tags)
        self.cloud.apps[app.id] = app
        return app
