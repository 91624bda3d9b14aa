"""The GPUs that Modal rents: names, memory, list prices, and what each can do."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from dataclasses import dataclass
from decimal import Decimal

from ocrvl_modal.errors import did_you_mean, usage_error

PRICES_SEEN = "2026-10"
"""When the list prices below were last read; the account's live rates go before them where they can be asked."""

CORE_USD_PER_HOUR = Decimal("0.0472")
"""List price of one physical CPU core."""

GIB_USD_PER_HOUR = Decimal("0.0080")
"""List price of one GiB of memory."""


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU. ``price_usd_per_hour`` is the list price of :data:`PRICES_SEEN`."""

    name: str
    memory_gib: int
    price_usd_per_hour: Decimal
    bf16: bool = True
    max_count: int = 8


@dataclass(frozen=True)
class GpuRequest:
    """So many GPUs of one kind, as ``A100-80GB:2`` asks for."""

    gpu: Gpu
    count: int

    @property
    def price_usd_per_hour(self) -> Decimal:
        """List price of all the GPUs together."""
        return self.gpu.price_usd_per_hour * self.count

    def __str__(self) -> str:
        return self.gpu.name if self.count == 1 else f"{self.gpu.name}:{self.count}"


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("T4", 16, Decimal("0.59"), bf16=False),
        Gpu("L4", 24, Decimal("0.80")),
        Gpu("A10", 24, Decimal("1.10"), max_count=4),
        Gpu("L40S", 48, Decimal("1.95")),
        Gpu("A100-40GB", 40, Decimal("2.10")),
        Gpu("A100-80GB", 80, Decimal("2.50")),
        Gpu("RTX-PRO-6000", 96, Decimal("3.03")),
        Gpu("H100", 80, Decimal("3.95")),
        Gpu("H200", 141, Decimal("4.54")),
        Gpu("B200", 180, Decimal("6.25")),
        Gpu("B300", 288, Decimal("7.10")),
    )
}

_ALIASES = {"A100": "A100-40GB", "A10G": "A10"}


def parse_gpu(text: str) -> GpuRequest:
    """Read ``L40S``, ``A100-80GB:2`` and the like, in any case.

    The client library passes a wrong name on to the server, so it is checked here: an unknown kind or a count that
    the kind does not come in is a usage error.
    """
    kind, colon, count_text = text.strip().partition(":")
    name = _ALIASES.get(kind.upper(), kind.upper())
    if name not in GPUS:
        raise usage_error(f"there is no GPU named '{kind}'", did_you_mean(kind, GPUS))
    gpu = GPUS[name]
    count = 1
    if colon:
        if not count_text.isdecimal() or not 1 <= int(count_text) <= gpu.max_count:
            raise usage_error(
                f"'{text}' asks for {count_text or 'no'} GPUs", f"{gpu.name} comes in 1 to {gpu.max_count}"
            )
        count = int(count_text)
    return GpuRequest(gpu, count)


def visible_gpus() -> list[str]:
    """Return the names of this machine's NVIDIA GPUs that a child process would see, without importing torch.

    None where there is no driver. ``CUDA_VISIBLE_DEVICES`` is obeyed as CUDA obeys it: an entry of -1, or an empty one,
    hides all that come after it.
    """
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    present = re.findall(r"^GPU \d+: (.+?) \(UUID", listed, flags=re.MULTILINE)
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    entries = [entry.strip() for entry in chosen.split(",")]
    seen = list(itertools.takewhile(lambda entry: entry not in {"", "-1"}, entries))
    return [present[int(entry)] if entry.isdigit() and int(entry) < len(present) else entry for entry in seen][
        : len(present)
    ]
