"""The images that containers run in: recipes as data. There are several, since what they install clashes.

Layers come in the order in which they seldom change. Our own source is no layer: it is mounted when a container
starts. Versions are in ``pins.py``; order and reasons come from ERNIE ``docs/paddleocr_vl_sft.md`` (the ERNIEKit
sequence), PaddleFormers 1.2.0's README and metadata, and the runs that docs/verified.md lists.
"""

from __future__ import annotations

from types import MappingProxyType

from ocrvl_modal.building.recipe import ImageRecipe, Layer
from ocrvl_modal.errors import did_you_mean, usage_error
from ocrvl_modal.pins import CUDA, DEBIAN, ERNIE_COMMIT, FRAMEWORK_WHEELS, PACKAGES, TORCH_CPU_INDEX

ERNIE_HOME = "/paddle/ERNIE"
READER = "/opt/reader"

_CPU_LACKS = ("nvidia-", "cuda-", "triton")
_OUR_IMPORTS = ("jinja2", "msgspec", "PIL", "pydantic", "rapidfuzz", "yaml")
_READER_IMPORTS = ("torch", "transformers", "peft", "tokenizers", "safetensors", *_OUR_IMPORTS)
_COMPILER = ("gcc", "libc6-dev")

_OURS = Layer(
    "ocrvl",
    "what every module of this package may import, of versions that no framework argues about",
    "python",
    pins=PACKAGES["ocrvl"],
)

LIGHT = ImageRecipe(
    "light",
    "fetching, checking, looking into stores: no framework, no GPU",
    DEBIAN,
    layers=(
        _OURS,
        Layer("hub", "fetching models and wheels, making the toy model", "python", pins=PACKAGES["hub"]),
    ),
    imports=(*_OUR_IMPORTS, "huggingface_hub", "numpy", "obstore", "packaging", "safetensors", "tokenizers", "urllib3"),
)

TRAIN_TRANSFORMERS = ImageRecipe(
    "train-transformers",
    "our own trainer, and all reading and scoring",
    DEBIAN,
    layers=(
        Layer("system", "the compiler that Triton calls when a kernel first runs", "system", packages=_COMPILER),
        Layer("torch", "the largest layer, alone, so that nothing else rebuilds it", "python", pins=PACKAGES["torch"]),
        Layer("transformers", "the model's code, adapters, tokenizers", "python", pins=PACKAGES["transformers"]),
        _OURS,
    ),
    imports=("torch", "transformers", "peft", "tokenizers", "safetensors", *_OUR_IMPORTS),
)

TRAIN_PADDLEFORMERS = ImageRecipe(
    "train-paddleformers",
    "PaddleFormers: 1.5, 1.6 and every LoRA; 0.9B too",
    DEBIAN,
    layers=(
        Layer(
            "system",
            "what opencv and audio wheels link against, and the compiler that Triton calls",
            "system",
            packages=("libgl1", "libglib2.0-0t64", "libsndfile1", *_COMPILER),
        ),
        Layer(
            "paddle",
            "1.9 GB, alone, so that nothing else fetches it again; its CUDA libraries are pinned in its own metadata",
            "framework",
            wheel=FRAMEWORK_WHEELS["train-paddleformers"],
        ),
        Layer(
            "paddleformers",
            "the maintainers' trainer; pyarrow is held since fast_dataindex caps numpy, and newer ones fail beside it",
            "python",
            pins=PACKAGES["paddleformers"],
        ),
        Layer(
            "torch",
            "the export is proven by loading it once, which needs no GPU, and so no CUDA a second time",
            "python",
            pins=PACKAGES["reader-torch"],
            index=TORCH_CPU_INDEX,
            lacks=_CPU_LACKS,
        ),
        Layer("peft", "reads adapters", "python", pins=PACKAGES["peft"]),
        _OURS,
    ),
    imports=("paddle", "paddleformers", "pyarrow", "triton", "torch", "transformers", "peft", *_OUR_IMPORTS),
    programs=("paddleformers-cli",),
)

TRAIN_ERNIEKIT = ImageRecipe(
    "train-erniekit",
    "ERNIEKit: 0.9B, all parameters, in the sequence that its makers document",
    CUDA,
    layers=(
        Layer(
            "system",
            "the source tree is fetched with git; opencv and decord link against the rest",
            "system",
            packages=(
                *("git", "wget", "libgl1-mesa-glx", "libglib2.0-0", "libsm6", "libxext6", "libxrender-dev"),
                "libgomp1",
            ),
        ),
        Layer(
            "dependencies",
            "what the framework's wheel needs, first, since it is installed without its dependencies",
            "python",
            pins=PACKAGES["erniekit-dependencies"],
        ),
        Layer(
            "paddle",
            "the CUDA libraries come with the base image, so the wheel comes without its own",
            "framework",
            wheel=FRAMEWORK_WHEELS["train-erniekit"],
            with_dependencies=False,
        ),
        Layer(
            "ernie",
            "the source tree at one commit: the release on the public index has no PaddleOCR-VL",
            "commands",
            pins=MappingProxyType({"ERNIE": ERNIE_COMMIT}),
            commands=(
                f"git clone https://github.com/PaddlePaddle/ERNIE {ERNIE_HOME}",
                f"cd {ERNIE_HOME} && git checkout {ERNIE_COMMIT}",
            ),
        ),
        Layer(
            "requirements",
            "those of the source tree, with versions for what it leaves open",
            "python",
            pins=PACKAGES["erniekit-requirements"],
            requirements=f"{ERNIE_HOME}/requirements/gpu/requirements.txt",
        ),
        Layer("erniekit", "the trainer itself, run from its source tree", "python", source=ERNIE_HOME),
        Layer("extras", "documented beside it", "python", pins=PACKAGES["erniekit-extras"]),
        _OURS,
        Layer(
            "numpy",
            "last: what came before may have lifted it, and the framework's binary modules are of this one",
            "python",
            pins=PACKAGES["erniekit-last"],
        ),
        Layer(
            "reader",
            "a Python of its own: the export is proven with a transformers that knows the model; ERNIEKit's is older",
            "commands",
            commands=(f"uv venv --python $(command -v python) {READER}",),
        ),
        Layer(
            "reader-torch",
            "that proof needs no GPU, and so no CUDA a second time",
            "python",
            pins=PACKAGES["reader-torch"],
            index=TORCH_CPU_INDEX,
            lacks=_CPU_LACKS,
            python=f"{READER}/bin/python",
        ),
        Layer(
            "reader-packages",
            "what reads an export",
            "python",
            pins=PACKAGES["reader"],
            python=f"{READER}/bin/python",
        ),
    ),
    imports=("paddle", "paddle.distributed.flex_checkpoint", "paddleformers", "erniekit", *_OUR_IMPORTS),
    programs=("erniekit", "git"),
    reader=f"{READER}/bin/python",
    reader_imports=_READER_IMPORTS,
    variables=MappingProxyType({"OCRVL_ERNIE_HOME": ERNIE_HOME, "OCRVL_READER_PYTHON": f"{READER}/bin/python"}),
)

SERVE_VLLM = ImageRecipe(
    "serve-vllm",
    "serving: vLLM, whose torch and CUDA are its own",
    DEBIAN,
    layers=(
        Layer("system", "the compiler that Triton calls when a kernel first runs", "system", packages=_COMPILER),
        Layer(
            "vllm",
            "with the torch and the transformers that tuned models were proven with; it brings the web server",
            "python",
            pins=PACKAGES["vllm"],
        ),
        _OURS,
    ),
    imports=("torch", "transformers", "vllm", "fastapi", *_OUR_IMPORTS),
    programs=("vllm",),
)

IMAGES = MappingProxyType(
    {image.name: image for image in (LIGHT, TRAIN_TRANSFORMERS, TRAIN_PADDLEFORMERS, TRAIN_ERNIEKIT, SERVE_VLLM)}
)


def get_image(name: str) -> ImageRecipe:
    """Return the image called ``name``; raise a usage error, with the nearest known name, for another word."""
    if name not in IMAGES:
        raise usage_error(f"there is no image named '{name}'", did_you_mean(name, IMAGES))
    return IMAGES[name]


def training_image(engine: str) -> ImageRecipe:
    """Return the image that an engine trains in."""
    return IMAGES[f"train-{engine}"]
