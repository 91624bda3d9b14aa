"""The name that kernels use in their annotations."""

from __future__ import annotations


class constexpr:
    """Marks an argument that is known when a kernel is compiled."""
