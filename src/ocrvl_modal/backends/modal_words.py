"""What Modal's client raises, in words for the user; and whether Modal answers at all."""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
import socket
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocrvl_modal.errors import ExitCode, OcrvlError, Unreachable, first_line, not_found, usage_error

if TYPE_CHECKING:
    from modal.exception import Error

ANSWER_DEADLINE_S = 8.0
"""The client tries for most of a minute to reach a server that is not there; we say so after this long."""

_BUILD_LINES = 15
_NETWORK = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT}
_ELSEWHERE = "--backend local runs on this machine"


@functools.cache
def require_access() -> None:
    """Raise an error where Modal cannot be reached, or does not know who asks.

    Asked once in a process, in a thread of its own that is left behind when it gets no answer in time.
    """
    outcome: list[BaseException | None] = []

    def ask() -> None:
        import modal

        try:
            modal.Client.from_env().hello()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_DEADLINE_S)
    if not outcome:
        # The client's own loop ends with this process, and would show the request that it breaks off.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
        raise _unreachable()
    if outcome[0] is not None:
        with in_words():
            raise outcome[0]


def require_secrets(names: Iterable[str], required_keys: Collection[str] = ()) -> None:
    """Raise *not found*, with the command that makes it, for a secret that Modal does not know, or that lacks a key."""
    import modal
    from modal.exception import NotFoundError

    for name in names:
        keys = " ".join(f"{key}=…" for key in required_keys or ("NAME",))
        with in_words():
            try:
                modal.Secret.from_name(name).hydrate()
            except NotFoundError as error:
                hint = f"modal secret create {name} {keys}"
                raise not_found(f"there is no Modal secret named '{name}'", hint) from error
            try:
                modal.Secret.from_name(name, required_keys=list(required_keys)).hydrate()
            except NotFoundError as error:
                raise not_found(
                    f"the Modal secret '{name}' lacks {' or '.join(required_keys)}",
                    f"modal secret create --force {name} {keys} (with its other keys, which this replaces)",
                ) from error


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what the client raises into an error that says what mends it."""
    from modal.exception import Error

    try:
        yield
    except Error as error:
        raise _explained(error) from error
    except OSError as error:
        if isinstance(error, (FileNotFoundError, FileExistsError)) or (error.errno and not _is_of_the_network(error)):
            raise
        raise _unreachable(first_line(error).rstrip(".")) from error


def _is_of_the_network(error: OSError) -> bool:
    return isinstance(error, (ConnectionError, socket.gaierror)) or error.errno in _NETWORK


def _explained(error: Error) -> OcrvlError:
    from modal import exception

    text = first_line(error).rstrip(".")
    match error:
        case exception.AuthError():
            return _not_signed_in(text)
        case exception.PermissionDeniedError():
            return OcrvlError(f"Modal does not permit it: {text}", "modal profile current", ExitCode.NOT_PERMITTED)
        case exception.ConnectionError() | exception.ServiceError():
            return _unreachable(text)
        case exception.ImageBuildError():
            return build_failed(error.image_id)
        case exception.ResourceExhaustedError():
            return OcrvlError(f"Modal has no room for it: {text}", "wait for other work to end, or ask for less")
        case exception.NotFoundError():
            return _missing(text)
        case exception.InvalidError():
            return _invalid(text)
    return OcrvlError(f"Modal: {text}", "try again; if it stays, report it with `ocrvl --version`")


def _not_signed_in(text: str) -> OcrvlError:
    if os.environ.get("MODAL_TOKEN_ID"):
        message = "Modal does not know the token in MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"
    elif "missing" in text.lower():
        message = "this machine has no Modal token"
    else:
        message = f"Modal refuses the token of this machine ({text})"
    return OcrvlError(message, f"modal setup signs in; {_ELSEWHERE}", ExitCode.NOT_PERMITTED)


def _unreachable(text: str = "") -> OcrvlError:
    server = os.environ.get("MODAL_SERVER_URL")
    where = f" at {server}" if server else ""
    why = f" ({text})" if text else f" within {ANSWER_DEADLINE_S:.0f} seconds"
    return Unreachable(f"Modal does not answer{where}{why}", f"check the network and try again; {_ELSEWHERE}")


def _missing(text: str) -> OcrvlError:
    if match := re.search(r"[Ss]ecret[^'\"`]*['\"`]([^'\"`]+)['\"`]", text):
        name = match[1]
        return not_found(f"there is no Modal secret named '{name}'", f"modal secret create {name} NAME=VALUE")
    if "environment" in text.lower():
        return not_found(f"Modal: {text}", "modal environment list shows those that MODAL_ENVIRONMENT may name")
    return not_found(f"Modal: {text}", "modal app list")


def _invalid(text: str) -> OcrvlError:
    if match := re.search(r"Volume '([^']+)' exists but has version v(\d), not v(\d)", text):
        name, actual, wanted = match.groups()
        return usage_error(
            f"the volume {name} is of version {actual}, and ocrvl keeps that store on version {wanted}",
            f"modal volume rename {name} {name}-v{actual}; then copy what you need back with `ocrvl volume put`",
        )
    return usage_error(f"Modal: {text}", "ocrvl train --help")


def build_failed(image_id: str, what: str = "the image") -> OcrvlError:
    """Return the error of a build, with its last lines; ``what`` could not be built."""
    lines = _build_log(image_id)
    shown = "; its last lines:\n" + "\n".join(lines) if lines else ""
    return OcrvlError(f"{what} could not be built{shown}", f"modal image logs {image_id}")


def _build_log(image_id: str) -> list[str]:
    import modal

    try:
        entries = list(modal.Image.from_id(image_id).logs.tail(_BUILD_LINES))
    except Exception:  # noqa: BLE001 - the failed build is what matters; its log is a courtesy
        return []
    lines = "".join(entry.message for entry in entries).splitlines()
    return [line for line in lines if line.strip()][-_BUILD_LINES:]
