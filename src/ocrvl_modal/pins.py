"""Every version that an image is made of, in one place: to update an image, change its pins here.

Then `make lock-images` works out anew what the pinned packages need in turn. Sources: the metadata of the packages,
PaddlePaddle's own index, ERNIE ``docs/paddleocr_vl_sft.md``, and the runs that docs/verified.md lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FRAMEWORK = "paddlepaddle-gpu"

IMAGE_BUILDER = "2026.10"
"""Modal's builder: it decides how a recipe becomes an image, and brings the Python of a base that has none. What the
user sets in ``MODAL_IMAGE_BUILDER_VERSION`` or Modal's own settings goes before it."""

PYTHON = "3.12"
PYTHON_RELEASE = "3.12.15"
"""The Python of both bases: Debian's image has it, and the builder above adds it to NVIDIA's."""

PYTHON_STANDALONE = "20261021"
"""The release of python-build-standalone that the builder takes this Python from."""

UV = "0.13.8"
"""The installer floats unless it is pinned, and with it what it does."""

ERNIE_COMMIT = "790a50b045d1aca2753d5395d8bec0806b2e6925"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Base:
    """What an image starts from: a registry's tag, and its digest where one is known.

    Digests are those that several public repositories, independent of each other, pin beside the same tag.
    """

    tag: str
    digest: str | None
    has_python: bool

    @property
    def reference(self) -> str:
        """The base as a registry takes it."""
        return f"{self.tag}@{self.digest}" if self.digest else self.tag


DEBIAN = Base(
    f"python:{PYTHON_RELEASE}-slim-trixie",
    "sha256:29113dcae7aad06daa8e95260fa09f27d62be33b9687ea3774f771d601a02256",
    has_python=True,
)
CUDA = Base(
    "nvidia/cuda:12.6.3-cudnn-devel-ubuntu22.04",
    "sha256:b3e7fba84d169f46939f00c25be7d016f712a8d651f4756d6a55e693d84d94f2",
    has_python=False,
)

_TRANSFORMERS = {
    "huggingface_hub": "2.4.0",
    "numpy": "2.5.5",
    "peft": "0.21.2",
    "safetensors": "0.8.0",
    "tokenizers": "0.23.3",
    "transformers": "5.23.0",
}
_OURS = {
    "jinja2": "3.1.6",
    "msgspec": "0.22.0",
    "pillow": "12.3.0",
    "pydantic": "2.14.3",
    "pyyaml": "6.0.3",
    "rapidfuzz": "3.14.6",
}

PACKAGES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ocrvl": _OURS,
        "hub": {
            "huggingface_hub": "2.4.0",
            "numpy": "2.5.5",
            "obstore": "0.12.1",
            "packaging": "26.3",
            "safetensors": "0.8.0",
            "tokenizers": "0.23.3",
            "urllib3": "2.8.0",
        },
        "torch": {"torch": "2.13.0"},
        "transformers": _TRANSFORMERS,
        "paddleformers": {"paddleformers": "1.2.0", "pyarrow": "21.0.0", "triton": "3.5.1"},
        "peft": {"peft": "0.21.2"},
        "erniekit-dependencies": {
            "httpx": "0.28.1",
            "networkx": "3.7",
            "numpy": "1.26.4",
            "opt_einsum": "3.3.0",
            "pillow": "12.3.0",
            "protobuf": "7.36.2",
            "typing_extensions": "4.16.0",
        },
        # What ERNIE's requirements/gpu/requirements.txt names; those that it does not pin are pinned here.
        "erniekit-requirements": {
            "decord": "0.6.0",
            "einops": "0.8.2",
            "gputil": "1.4.0",
            "gradio": "6.17.3",
            "imgaug": "0.4.0",
            "ml_dtypes": "0.5.4",
            "moviepy": "1.0.3",
            "openai": "3.54.0",
            "opencv-python": "4.5.5.64",
            "paddleformers": "0.4.1",
            "pyarrow": "21.0.0",
            "safetensors": "0.7.0",
            "setuptools": "79.0.1",
            "tensorboardx": "2.6.5",
            "transformers": "4.55.4",
            "triton": "3.3.0",
            "ujson": "6.1.0",
            "use-triton-in-paddle": "0.1.0",
        },
        "erniekit-extras": {"opencv-python-headless": "4.11.0.86", "tensorboard": "2.21.0"},
        "erniekit-last": {"numpy": "1.26.4", "opt_einsum": "3.3.0"},
        "reader-torch": {"torch": "2.13.0"},
        "reader": {**_TRANSFORMERS, **_OURS},
        # The torch and the transformers that tuned models are proven with; this vLLM asks for just that torch.
        "vllm": {"torch": "2.13.0", "transformers": "5.23.0", "vllm": "0.30.0"},
    }
)
"""The packages that we ask for by name, by the group that a layer of ``image.py`` takes."""


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

ABOUT_A_WHEEL_BYTES = 1_890_365_820
"""The size of the 3.2.0 wheel for cu126 and cp312, as others have measured it; that of 3.3.1 is much the same."""
