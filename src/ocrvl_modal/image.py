"""What containers run in: each image is an ordered list of layers, as data, from which the ``modal.Image`` is made.

A layer that changes rebuilds itself and those after it, so what changes seldom comes first. Our own source is no
layer: it is mounted when a container starts.

Sources of versions and order: ERNIE ``docs/paddleocr_vl_sft.md`` (the ERNIEKit sequence), PaddleFormers 1.2.0's README
and metadata, and the runs that docs/verified.md lists.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ocrvl_modal.errors import did_you_mean, usage_error

if TYPE_CHECKING:
    import modal

PYTHON = "3.12"
UV = "0.13.8"
"""The installer floats unless it is pinned, and with it what a range resolves to."""

_PADDLE_INDEX = "https://www.paddlepaddle.org.cn/packages/stable/cu126/"
_TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_ERNIE_COMMIT = "790a50b045d1aca2753d5395d8bec0806b2e6925"
ERNIE_HOME = "/paddle/ERNIE"
READER = "/opt/reader"


@dataclass(frozen=True)
class Layer:
    """One step of a build.

    ``kind`` is what the ``items`` are: Debian packages, Python packages, or shell commands. ``reason`` is for the
    reader of a plan. ``options`` are those of the installer; ``index`` is asked before the public one.
    """

    name: str
    reason: str
    kind: Literal["apt", "python", "run"]
    items: tuple[str, ...]
    index: str | None = None
    options: str = ""


@dataclass(frozen=True)
class ImageRecipe:
    """An image: its base, its layers in order, its variables, and the modules that must import at its end.

    ``base`` is a registry's tag, or ``None`` for Debian with Python alone.
    """

    name: str
    layers: tuple[Layer, ...]
    imports: tuple[str, ...]
    base: str | None = None
    python: str = PYTHON
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def to_modal(self) -> modal.Image:
        """Return the Modal image; it is built at its first use, and from then on taken from Modal's cache."""
        import modal

        image = (
            modal.Image.debian_slim(self.python)
            if self.base is None
            else modal.Image.from_registry(self.base, add_python=self.python).entrypoint([])
        )
        for layer in self.layers:
            image = _with_layer(image, layer)
        if self.variables:
            image = image.env(dict(self.variables))
        return image.run_commands(self.import_check)

    @property
    def import_check(self) -> str:
        """The command that ends the build, and fails it with the name of what is missing."""
        return f"python -c {shlex.quote('import ' + ', '.join(self.imports))}"


def _with_layer(image: modal.Image, layer: Layer) -> modal.Image:
    if layer.kind == "apt":
        return image.apt_install(*layer.items)
    if layer.kind == "python":
        return image.uv_pip_install(
            *layer.items, extra_index_url=layer.index, extra_options=layer.options, uv_version=UV
        )
    return image.run_commands(*layer.items)


_OURS = Layer(
    "ocrvl",
    "what every module of this package may import, of versions that no framework argues about",
    "python",
    ("jinja2==3.1.6", "msgspec==0.22.0", "pillow==12.3.0", "pydantic==2.14.3", "pyyaml==6.0.3", "rapidfuzz==3.14.6"),
)
_OUR_IMPORTS = ("jinja2", "msgspec", "PIL", "pydantic", "rapidfuzz", "yaml")

LIGHT = ImageRecipe(
    "light",
    layers=(
        _OURS,
        Layer(
            "hub",
            "fetching models, checking data, making the toy model: no framework",
            "python",
            ("huggingface_hub==2.4.0", "numpy==2.5.5", "safetensors==0.8.0", "tokenizers==0.23.3"),
        ),
    ),
    imports=(*_OUR_IMPORTS, "huggingface_hub", "numpy", "safetensors", "tokenizers"),
)

TRAIN_TRANSFORMERS = ImageRecipe(
    "train-transformers",
    layers=(
        Layer("torch", "the largest layer, alone, so that nothing else rebuilds it", "python", ("torch==2.13.0",)),
        Layer(
            "transformers",
            "our own trainer, and all reading and scoring",
            "python",
            (
                "huggingface_hub==2.4.0",
                "numpy==2.5.5",
                "peft==0.21.2",
                "safetensors==0.8.0",
                "tokenizers==0.23.3",
                "transformers==5.23.0",
            ),
        ),
        _OURS,
    ),
    imports=("torch", "transformers", "peft", "tokenizers", "safetensors", *_OUR_IMPORTS),
)

TRAIN_PADDLEFORMERS = ImageRecipe(
    "train-paddleformers",
    layers=(
        Layer("system", "what opencv and audio wheels link against", "apt", ("libgl1", "libglib2.0-0", "libsndfile1")),
        Layer(
            "paddle",
            "1.9 GB, alone, so that resolving the rest never fetches it again; from Paddle's own index, since the"
            " public one ends at 2.6.2",
            "python",
            ("paddlepaddle-gpu==3.3.1",),
            index=_PADDLE_INDEX,
        ),
        Layer(
            "paddleformers",
            "the maintainers' trainer; pyarrow is held since fast_dataindex caps numpy, and newer ones fail beside it",
            "python",
            ("paddleformers==1.2.0", "pyarrow==21.0.0", "triton==3.5.1"),
        ),
        Layer(
            "torch",
            "the export is proven by loading it once, which needs no GPU, and so no CUDA a second time",
            "python",
            ("torch==2.13.0",),
            index=_TORCH_CPU_INDEX,
        ),
        Layer("peft", "reads adapters", "python", ("peft==0.21.2",)),
        _OURS,
    ),
    imports=("paddle", "paddleformers", "pyarrow", "triton", "torch", "transformers", "peft", *_OUR_IMPORTS),
)

TRAIN_ERNIEKIT = ImageRecipe(
    "train-erniekit",
    base="nvidia/cuda:12.6.3-cudnn-devel-ubuntu22.04",
    layers=(
        Layer(
            "system",
            "the source tree is fetched with git; opencv and decord link against the rest",
            "apt",
            ("git", "wget", "libgl1-mesa-glx", "libglib2.0-0", "libsm6", "libxext6", "libxrender-dev", "libgomp1"),
        ),
        Layer(
            "dependencies",
            "what the framework's wheel needs, first, since it is installed without its dependencies",
            "python",
            (
                "httpx==0.28.1",
                "networkx==3.7",
                "numpy==1.26.4",
                "opt_einsum==3.3.0",
                "pillow==12.3.0",
                "protobuf==7.36.2",
                "typing_extensions==4.16.0",
            ),
        ),
        Layer(
            "paddle",
            "the CUDA libraries come with the base image, so the wheel comes without its own",
            "python",
            ("paddlepaddle-gpu==3.2.0",),
            index=_PADDLE_INDEX,
            options="--no-deps",
        ),
        Layer(
            "ernie",
            "the source tree at one commit: the release on the public index has no PaddleOCR-VL",
            "run",
            (
                f"git clone https://github.com/PaddlePaddle/ERNIE {ERNIE_HOME}",
                f"cd {ERNIE_HOME} && git checkout {_ERNIE_COMMIT}",
            ),
        ),
        Layer(
            "requirements",
            "those of the source tree, with the versions that it does not pin and works with",
            "run",
            (
                f"cd {ERNIE_HOME} && python -m pip install -r requirements/gpu/requirements.txt"
                " paddleformers==0.4.1 transformers==4.55.4 safetensors==0.7.0 ml_dtypes==0.5.4",
                f"cd {ERNIE_HOME} && python -m pip install -e .",
                "python -m pip install tensorboard==2.21.0 opencv-python-headless==4.11.0.86",
            ),
        ),
        _OURS,
        Layer(
            "numpy",
            "last: what came before may have lifted it, and the framework's binary modules are of this one",
            "run",
            ("python -m pip install numpy==1.26.4 opt_einsum==3.3.0",),
        ),
        Layer(
            "reader",
            "the export is proven with a transformers that knows the model, and ERNIEKit needs an older one",
            "run",
            (
                f"python -m venv {READER}",
                f"{READER}/bin/pip install --index-url {_TORCH_CPU_INDEX} torch==2.13.0",
                f"{READER}/bin/pip install transformers==5.23.0 peft==0.21.2 tokenizers==0.23.3 safetensors==0.8.0 "
                + " ".join(_OURS.items),
            ),
        ),
    ),
    imports=("paddle", "paddle.distributed.flex_checkpoint", "paddleformers", "erniekit", *_OUR_IMPORTS),
    variables=MappingProxyType({"OCRVL_ERNIE_HOME": ERNIE_HOME, "OCRVL_READER_PYTHON": f"{READER}/bin/python"}),
)

IMAGES = MappingProxyType(
    {image.name: image for image in (LIGHT, TRAIN_TRANSFORMERS, TRAIN_PADDLEFORMERS, TRAIN_ERNIEKIT)}
)


def get_image(name: str) -> ImageRecipe:
    """Return the image called ``name``; raise a usage error, with the nearest known name, for another word."""
    if name not in IMAGES:
        raise usage_error(f"there is no image named '{name}'", did_you_mean(name, IMAGES))
    return IMAGES[name]


def training_image(engine: str) -> ImageRecipe:
    """Return the image that an engine trains in."""
    return IMAGES[f"train-{engine}"]
