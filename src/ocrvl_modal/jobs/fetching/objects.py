"""Files of object stores, through obstore: S3, Google Cloud Storage, Azure, or a folder that stands for one.

Credentials, regions and endpoints come from the environment, under the names that each store's own tools use.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ocrvl_modal import files
from ocrvl_modal.errors import ExitCode, OcrvlError, first_line, not_found
from ocrvl_modal.jobs.fetching.web import LARGEST_BYTES, NotHad

INSTALL = "pip install 'ocrvl-modal[cloud]'"

REQUIRED_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        "gs": ("GOOGLE_SERVICE_ACCOUNT_KEY",),
        "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
    }
)
"""The variables that let us in, by the scheme of an address; a secret for it must have them as keys."""


_RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_REFUSED = re.compile(r"\b40[13]\b|AccessDenied|credential", re.IGNORECASE)


class Objects:
    """Fetches objects by their whole addresses, such as ``s3://bucket/a/b.png``. Threads may share it."""

    def __init__(self) -> None:
        """Raise an error, with what installs it, where obstore is not here."""
        if importlib.util.find_spec("obstore") is None:
            raise OcrvlError("reading from an object store needs obstore", INSTALL)
        self._stores: dict[str, Any] = {}
        self._lock = threading.Lock()

    def rows_at(self, address: str) -> list[str]:
        """Return the files of rows at an address: itself, or those in its folder. Raises *not found* without any."""
        if address.endswith(".jsonl"):
            return [address]
        store, key = self._find(address)
        with told_in_words(address):
            listed = [str(meta["path"]) for batch in store.list(prefix=key.strip("/") or None) for meta in batch]
        found = sorted(f"{_split(address)[0]}/{path}" for path in listed if path.endswith(".jsonl"))
        if not found:
            raise not_found(
                f"there is no .jsonl file at {address}: training reads no other form", "look at the address"
            )
        return found

    def fetch(self, address: str, destination: Path) -> None:
        """Fetch an object of any size to a file, which appears whole."""
        store, key = self._find(address)
        with files.new_file(destination) as beside, told_in_words(address), beside.open("wb") as stream:
            for chunk in store.get(key).stream():
                stream.write(bytes(chunk))

    def get(self, address: str) -> bytes:
        """Return an object's content; raise :class:`NotHad` when it cannot be had."""
        from obstore import exceptions

        store, key = self._find(address)
        try:
            found = store.get(key)
            if found.meta["size"] > LARGEST_BYTES:
                raise NotHad("too_large", f"it is larger than {LARGEST_BYTES >> 20} MiB")
            return bytes(found.bytes())
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise NotHad("not_found", "there is no such object") from error
        except (exceptions.BaseError, OSError, ValueError) as error:
            raise NotHad("unreachable", _why(error)) from error

    def _find(self, address: str) -> tuple[Any, str]:
        """Return the store of an address, opened once, and the object's key in it."""
        from obstore.store import LocalStore, from_url

        root, key = _split(address)
        with self._lock, told_in_words(address):
            if root not in self._stores:
                self._stores[root] = (
                    LocalStore(prefix="/") if root == "file://" else from_url(root, retry_config=_RETRIES)
                )
            return self._stores[root], key


@contextmanager
def told_in_words(address: str) -> Iterator[None]:
    """Turn what obstore raises into an error that says what mends it."""
    from obstore import exceptions

    scheme = urlsplit(address).scheme
    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise not_found(f"there is no {address}", "look at the address") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise _refused(address, scheme) from error
    except (exceptions.BaseError, ValueError) as error:
        text = _why(error)
        if _REFUSED.search(text):
            raise _refused(address, scheme) from error
        raise OcrvlError(f"{address} cannot be read: {text}", f"look at the address, {_keys(scheme)}") from error


def _refused(address: str, scheme: str) -> OcrvlError:
    return OcrvlError(
        f"the object store does not let us read {address}",
        f"set {_keys(scheme)}; on Modal, --secret NAME with these keys",
        ExitCode.NOT_PERMITTED,
    )


def _split(address: str) -> tuple[str, str]:
    """Return ``s3://bucket`` and the key of ``s3://bucket/a/b``; a key may hold what means something in a URL."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def _keys(scheme: str) -> str:
    return " and ".join(REQUIRED_KEYS.get(scheme, ("its credentials",)))


def _why(error: Exception) -> str:
    """Return what went wrong, without what obstore itself did about it."""
    text = first_line(error).removesuffix(".")
    return text.rpartition(" - ")[2] or text
