"""Stands in for triton where it is not installed, on a CPU: PaddleFormers 1.2.0 imports it, and calls nothing of it.

The version keeps its kernels for the GPU switched off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__version__ = "0.0"


def jit(function: Callable[..., Any] | None = None, **_options: Any) -> Callable[..., Any]:
    """Return the kernel as it is, with or without options; it is only ever defined."""
    return function if function is not None else lambda kernel: kernel


def next_power_of_2(number: int) -> int:
    """Return the smallest power of two that is not less than ``number``."""
    return 1 << (number - 1).bit_length()


def cdiv(dividend: int, divisor: int) -> int:
    """Return the quotient, rounded up."""
    return -(-dividend // divisor)
