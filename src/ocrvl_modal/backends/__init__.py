"""Where jobs run and where the stores are, behind one protocol."""

from __future__ import annotations

from ocrvl_modal.backends.opening import open_backend, open_by_flag

__all__ = ["open_backend", "open_by_flag"]
