"""Opening the backend that a ``--backend`` flag, the environment or the settings choose."""

from __future__ import annotations

from ocrvl_modal.backends.base import Backend
from ocrvl_modal.settings import BackendChoice, choose_backend, home


def open_by_flag(flag: str | None) -> Backend:
    """Return the backend that a command goes to; see :func:`ocrvl_modal.settings.choose_backend`."""
    return open_backend(choose_backend(flag))


def open_backend(choice: BackendChoice) -> Backend:
    """Return the chosen backend; raise an error where it is Modal, and Modal does not let us in."""
    if choice.name == "modal":
        from ocrvl_modal.backends.modal import ModalBackend
        from ocrvl_modal.building.account import settle_builder

        settle_builder()
        return ModalBackend()
    from ocrvl_modal.backends.local import LocalBackend

    return LocalBackend(home())
