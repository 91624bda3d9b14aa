"""Secrets: named ones, and those that an app brings along."""

from __future__ import annotations

from modal_proto import api_pb2 as api

from fakemodal.cloud import missing

from .subject import From, Request, Subject


class Secrets(Subject):
    def SecretGetOrCreate(self, request: Request, container: From) -> api.SecretGetOrCreateResponse:
        secret_id = self.cloud.named("Secret", request, lambda name: self.cloud.add_secret(name, request.env_dict))
        absent = [key for key in request.required_keys if key not in self.cloud.secrets[secret_id].environment]
        if absent:
            raise missing(f"Secret is missing key(s): {', '.join(absent)}")
        return api.SecretGetOrCreateResponse(secret_id=secret_id, metadata=self._metadata(secret_id))

    def SecretGetInfo(self, request: Request, container: From) -> api.SecretGetInfoResponse:
        return api.SecretGetInfoResponse(metadata=self._metadata(request.secret_id))

    def SecretUpdate(self, request: Request, container: From) -> None:
        secret = self.cloud.find(self.cloud.secrets, request.secret_id)
        secret.environment.update({update.key: update.value for update in request.updates})

    def SecretList(self, request: Request, container: From) -> api.SecretListResponse:
        before = request.pagination.created_before or float("inf")
        named = [(key, found) for key, found in self.cloud.secrets.items() if found.name and found.created_at < before]
        return api.SecretListResponse(
            environment_name=self.cloud.options.environment,
            items=[
                api.SecretListItem(
                    label=secret.name,
                    secret_id=secret_id,
                    created_at=secret.created_at,
                    metadata=self._metadata(secret_id),
                )
                for secret_id, secret in named
            ],
        )

    def SecretDelete(self, request: Request, container: From) -> None:
        self.cloud.forget("Secret", request.secret_id)

    def _metadata(self, secret_id: str) -> api.SecretMetadata:
        secret = self.cloud.find(self.cloud.secrets, secret_id)
        created = api.CreationInfo(created_at=secret.created_at)
        return api.SecretMetadata(name=secret.name, keys=list(secret.environment), creation_info=created)
