"""Tables of what lies in the stores, with what it costs a month."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from ocrvl_modal.report.words import ago, count, size
from ocrvl_modal.storage import FREE_GIB, USD_PER_GIB_MONTH, monthly_usd
from ocrvl_modal.upkeep.collecting import Garbage, Usage


def price(size_bytes: int, *, costs: bool) -> dict[str, str]:
    """Return the list price of a month, as it stands in JSON output; this machine's disk has none."""
    return {"usd_per_month": str(monthly_usd(size_bytes))} if costs else {}


def sum_line(size_bytes: int, *, costs: bool) -> str:
    """Return how much lies there in all, and what that costs where it does."""
    if not costs:
        return f"{size(size_bytes)} in all"
    return (
        f"{size(size_bytes)} in all, ${monthly_usd(size_bytes)} a month"
        f" (${USD_PER_GIB_MONTH} a GiB; an account's first {FREE_GIB:,} GiB are free)"
    )


def usage_table(usages: list[Usage], *, costs: bool) -> Table:
    """Return a table of what lies at each place."""
    from ocrvl_modal.report.words import size

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("place", overflow="fold")
    for header in ("files", "size", *(["$ a month"] if costs else [])):
        table.add_column(header, justify="right")
    for usage in usages:
        price = [str(monthly_usd(usage.size_bytes))] if costs else []
        table.add_row(Text(usage.place), count(usage.files), size(usage.size_bytes), *price)
    return table


def garbage_table(found: list[Garbage]) -> Table:
    """Return a table of what may be removed, and why."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("place", "size", "changed", "why"):
        table.add_column(header, justify="right" if header == "size" else "left", overflow="fold")
    for garbage in found:
        table.add_row(Text(garbage.place), size(garbage.size_bytes), ago(garbage.modified_at), Text(garbage.reason))
    return table
