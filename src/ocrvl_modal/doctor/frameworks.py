"""Whether Paddle computes at all; what a GPU makes of it is for :mod:`ocrvl_modal.doctor.gpu`."""

from __future__ import annotations

from typing import Any

from ocrvl_modal.doctor.findings import Finding, failed, passed
from ocrvl_modal.doctor.subject import Subject, rebuild

_SIDE = 64
_TOLERANCE = 1e-4


def paddle(subject: Subject) -> Finding:
    """Import Paddle, and compare a product of matrices with numpy's."""
    import paddle

    evidence = {
        "version": paddle.__version__,
        "commit": paddle.version.commit,
        "built_for_cuda": paddle.version.cuda() if paddle.is_compiled_with_cuda() else None,
    }
    if subject.is_image and not paddle.is_compiled_with_cuda():
        return failed(
            f"Paddle {paddle.__version__} of this image is built for CPUs",
            rebuild(subject.name),
            **evidence,
        )
    paddle.set_device("cpu")
    difference = product_difference(paddle)
    if difference > _TOLERANCE:
        return failed(
            f"Paddle {paddle.__version__} multiplies wrongly on this CPU: off by {difference:.1g}",
            "pip install --force-reinstall --no-deps paddlepaddle of another version",
            **evidence,
            difference=difference,
        )
    kind = f"for CUDA {evidence['built_for_cuda']}" if evidence["built_for_cuda"] else "for CPUs"
    return passed(f"Paddle {paddle.__version__} ({kind}) computes", **evidence)


def product_difference(paddle: Any) -> float:
    """Return how far a product of matrices on Paddle's present device is from numpy's, at most."""
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(0))
    one, other = (generator.standard_normal((_SIDE, _SIDE)).astype(numpy.float32) for _ in range(2))
    product = (paddle.to_tensor(one) @ paddle.to_tensor(other)).numpy()
    return float(numpy.abs(product - one @ other).max() / numpy.abs(product).max())
