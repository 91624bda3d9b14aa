"""The same measurements with torch and with Paddle: how exact a device is in 16 bits."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

Device = Literal["cpu", "gpu"]

_SIDE = 1024
_ATTENTION = (1, 256, 8, 64)
"""Samples, tokens, heads, and the width of a head: that of the model's vision tower is 72, of its language half 128."""


class Tensors(Protocol):
    """One framework."""

    kernel: str
    """What runs for :meth:`attention_error`."""

    def bf16_error(self, device: Device) -> float:
        """Return how far a product of matrices in bf16 is from float32, relative to its size."""
        ...

    def attention_error(self, device: Device) -> float:
        """Return how far the attention kernel in bf16 is from plain attention in float32, relative to its size."""
        ...


def of(framework: str) -> Tensors:
    """Return the measurements with a framework: ``torch`` or ``paddle``."""
    return _PaddleTensors() if framework == "paddle" else _TorchTensors()


class _TorchTensors:
    kernel = "torch's flash attention"

    def bf16_error(self, device: Device) -> float:
        import torch

        one, other = self._random(2, (_SIDE, _SIDE), device)
        exact = one @ other
        rounded = (one.to(torch.bfloat16) @ other.to(torch.bfloat16)).to(torch.float32)
        return self._relative(rounded, exact)

    def attention_error(self, device: Device) -> float:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        samples, tokens, heads, width = _ATTENTION
        query, key, value = self._random(3, (samples, heads, tokens, width), device)
        with sdpa_kernel(SDPBackend.MATH):
            exact = scaled_dot_product_attention(query, key, value, is_causal=True)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            query, key, value = (each.to(torch.bfloat16) for each in (query, key, value))
            fast = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._relative(fast.to(torch.float32), exact)

    def _random(self, count: int, shape: tuple[int, ...], device: Device) -> list[Any]:
        import torch

        generator = torch.Generator().manual_seed(0)
        where = "cuda" if device == "gpu" else "cpu"
        return [torch.randn(shape, generator=generator).to(where) for _ in range(count)]

    def _relative(self, got: Any, exact: Any) -> float:
        return float((got - exact).norm() / exact.norm())


def plain_attention_in_paddle(query: Any, key: Any, value: Any) -> Any:
    """Return causal attention by its formula; all are laid out as samples, tokens, heads, width."""
    import paddle

    query, key, value = (each.transpose([0, 2, 1, 3]) for each in (query, key, value))
    tokens, width = query.shape[2], query.shape[3]
    scores = query @ key.transpose([0, 1, 3, 2]) / math.sqrt(width)
    later = paddle.triu(paddle.full([tokens, tokens], -math.inf), diagonal=1)
    weights = paddle.nn.functional.softmax(scores + later, axis=-1)
    return (weights @ value).transpose([0, 2, 1, 3])


class _PaddleTensors:
    kernel = "Paddle's flashmask attention"

    def bf16_error(self, device: Device) -> float:
        import paddle

        paddle.set_device("gpu:0" if device == "gpu" else "cpu")
        one, other = self._random(2, (_SIDE, _SIDE))
        exact = one @ other
        rounded = (one.astype("bfloat16") @ other.astype("bfloat16")).astype("float32")
        return self._relative(rounded, exact)

    def attention_error(self, device: Device) -> float:
        import paddle
        from paddle.nn.functional import flashmask_attention

        paddle.set_device("gpu:0" if device == "gpu" else "cpu")
        inputs = self._random(3, _ATTENTION)
        fast = flashmask_attention(*(each.astype("bfloat16") for each in inputs), causal=True)
        return self._relative(fast.astype("float32"), plain_attention_in_paddle(*inputs))

    def _random(self, count: int, shape: tuple[int, ...]) -> list[Any]:
        import paddle

        paddle.seed(0)
        return [paddle.randn(shape) for _ in range(count)]

    def _relative(self, got: Any, exact: Any) -> float:
        return float((got - exact).norm() / exact.norm())
