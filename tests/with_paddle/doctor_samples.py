"""Checks of a PaddleFormers that is not as ocrvl expects it, and of our own sums; each runs in a process of its own."""

from __future__ import annotations

from ocrvl_modal.doctor import tensors
from ocrvl_modal.doctor.configuration import config
from ocrvl_modal.doctor.findings import Finding, passed
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.engines.paddleformers import engine


def config_of_tomorrow(subject: Subject) -> Finding:
    """The configuration of an ocrvl that writes for another version."""
    known = engine.engine_config
    engine.engine_config = lambda job, machine: {**known(job, machine), "key_of_tomorrow": 1}
    return config(subject)


def attention(subject: Subject) -> Finding:
    """How far our plain attention is from that of Paddle itself."""
    import paddle

    paddle.set_device("cpu")
    paddle.seed(3)
    inputs = [paddle.randn([1, 16, 2, 8]) for _ in range(3)]
    theirs = paddle.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)
    return passed("compared", difference=float((tensors.plain_attention_in_paddle(*inputs) - theirs).abs().max()))
