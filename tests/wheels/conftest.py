"""The file server."""

from __future__ import annotations

from transfer.conftest import quick, site  # noqa: F401
