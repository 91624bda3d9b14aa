"""Sessions, tokens, the workspace and its only environment."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from modal_proto import api_pb2 as api

from .subject import From, Request, Subject

_TOKEN_LIFE_S = 86400


class Workspace(Subject):
    def ClientHello(self, request: Request, container: From) -> api.ClientHelloResponse:
        return api.ClientHelloResponse(image_builder_version=self.cloud.options.builder_version)

    def AuthTokenGet(self, request: Request, container: From) -> api.AuthTokenGetResponse:
        expires = {"exp": int(time.time()) + _TOKEN_LIFE_S}
        return api.AuthTokenGetResponse(token=f"{_encoded({'alg': 'none'})}.{_encoded(expires)}.x")

    def TokenInfoGet(self, request: Request, container: From) -> api.TokenInfoGetResponse:
        return api.TokenInfoGetResponse(
            token_id=self.cloud.options.token_id,
            workspace_name="fake",
            workspace_id="wo-fake",
            user_identity=api.UserIdentity(username="fake-user"),
        )

    def WorkspaceNameLookup(self, request: Request, container: From) -> api.WorkspaceNameLookupResponse:
        return api.WorkspaceNameLookupResponse(workspace_name="fake", username="fake-user")

    def EnvironmentGetOrCreate(self, request: Request, container: From) -> api.EnvironmentGetOrCreateResponse:
        options = self.cloud.options
        self.cloud.check_environment(request.deployment_name)
        settings = api.EnvironmentSettings(image_builder_version=options.builder_version)
        return api.EnvironmentGetOrCreateResponse(
            environment_id="en-fake", metadata=api.EnvironmentMetadata(name=options.environment, settings=settings)
        )

    def EnvironmentList(self, request: Request, container: From) -> api.EnvironmentListResponse:
        only = api.EnvironmentListItem(name=self.cloud.options.environment, default=True)
        return api.EnvironmentListResponse(items=[only])

    def ObjectSuggest(self, request: Request, container: From) -> api.ObjectSuggestResponse:
        return api.ObjectSuggestResponse()

    def CliCommandSuggest(self, request: Request, container: From) -> api.CliCommandSuggestResponse:
        return api.CliCommandSuggestResponse()


def _encoded(data: dict[str, Any]) -> str:
    """A part of a JSON web token."""
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")
