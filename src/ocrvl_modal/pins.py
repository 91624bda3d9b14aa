"""Every version that an image is made of, in one place: to update an image, change its pins here.

Sources: the metadata of the packages, PaddlePaddle's own index, ERNIE ``docs/paddleocr_vl_sft.md``, and the runs that
docs/verified.md lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FRAMEWORK = "paddlepaddle-gpu"


@dataclass(frozen=True)
class FrameworkWheel:
    """The build of the framework that an image installs: its version, its CUDA (``cu126``), its Python (``cp312``)."""

    version: str
    cuda: str
    python: str
    platform: str = "linux_x86_64"

    @property
    def index_url(self) -> str:
        """The package index (PEP 503) that has it; the public one ends at 2.6.2."""
        return f"https://www.paddlepaddle.org.cn/packages/stable/{self.cuda}/"

    @property
    def file_name(self) -> str:
        """The name that the wheel is published under."""
        return f"{FRAMEWORK.replace('-', '_')}-{self.version}-{self.python}-{self.python}-{self.platform}.whl"


FRAMEWORK_WHEELS: Mapping[str, FrameworkWheel] = MappingProxyType(
    {
        "train-paddleformers": FrameworkWheel("3.3.1", "cu126", "cp312"),
        "train-erniekit": FrameworkWheel("3.2.0", "cu126", "cp312"),
    }
)
"""The framework wheel of each image that has one."""
