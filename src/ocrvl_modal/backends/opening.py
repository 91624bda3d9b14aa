"""Opening the backend that a ``--backend`` flag, the environment or the settings choose."""

from __future__ import annotations

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.errors import usage_error
from ocrvl_modal.settings import BackendChoice, choose_backend, home


def open_by_flag(flag: str | None) -> Backend:
    """Return the backend that a command goes to; see :func:`ocrvl_modal.settings.choose_backend`."""
    return open_backend(choose_backend(flag))


def open_backend(choice: BackendChoice) -> Backend:
    """Return the chosen backend; raise a usage error for one that this version cannot use."""
    if choice.name == "modal":
        raise usage_error(
            f"this version of ocrvl cannot run on Modal yet (chosen because of: {choice.because})", "--backend local"
        )
    from ocrvl_modal.backends.local import LocalBackend

    return LocalBackend(home())
