"""What it costs to keep bytes on Modal's volumes.

Source: modal.com/pricing and the guide on volumes, as quoted in August and September 2026.
"""

from __future__ import annotations

from decimal import Decimal

USD_PER_GIB_MONTH = Decimal("0.09")
FREE_GIB = 1024
"""The first part of all that an account keeps costs nothing."""


def monthly_usd(size_bytes: int) -> Decimal:
    """Return what so many bytes cost a month, by the list price, beyond the part that is free."""
    return (Decimal(size_bytes) / 2**30 * USD_PER_GIB_MONTH).quantize(Decimal("0.01"))
