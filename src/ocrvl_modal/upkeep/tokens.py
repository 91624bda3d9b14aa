"""Which secrets a download may use: those of the account by their names, or this machine's token, where asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.errors import usage_error
from ocrvl_modal.jobs.fetching.addresses import DatasetSource
from ocrvl_modal.jobs.fetching.hub import TOKEN
from ocrvl_modal.jobs.fetching.objects import REQUIRED_KEYS


@dataclass(frozen=True)
class Access:
    """What goes along with a call; see :meth:`ocrvl_modal.backends.base.Backend.call`."""

    secrets: tuple[str, ...] = ()
    local_secrets: tuple[str, ...] = ()


def access(
    backend: Backend, secret: str | None, *, use_local_token: bool = False, required_keys: Collection[str] = (TOKEN,)
) -> Access:
    """Return what a download is given; raise *not found* where the secret is not there, or lacks a key.

    On this machine nothing needs to be given: a job sees the environment as it is.
    """
    if secret and use_local_token:
        raise usage_error("--secret and --use-local-token are two ways to give one token", "leave one of them out")
    if backend.name != "modal":
        return Access()
    if secret:
        from ocrvl_modal.backends.modal_words import require_secrets

        require_secrets((secret,), required_keys)
    return Access((secret,) if secret else (), (TOKEN,) if use_local_token else ())


def access_to_dataset(
    backend: Backend, source: DatasetSource, secret: str | None, *, use_local_token: bool = False
) -> Access:
    """Return what the download of a dataset is given, by where the dataset lies."""
    scheme = source.address.partition("://")[0]
    if scheme == "file" and backend.name == "modal":
        raise usage_error(
            f"{source.address} is on this machine, which Modal does not see", "ocrvl volume put FOLDER /data"
        )
    if source.kind == "hub":
        return access(backend, secret, use_local_token=use_local_token)
    if use_local_token:
        raise usage_error("--use-local-token is the token of a hub", "leave it out, or give --secret NAME")
    return access(backend, secret, required_keys=REQUIRED_KEYS.get(scheme, ()))
