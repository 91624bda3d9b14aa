"""Which libraries are here, and importing transformers where another one stands in its way."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys


def is_installed(module: str) -> bool:
    """Say whether a module can be imported, without importing it.

    A mere folder of that name, such as an environment called ``paddle``, counts as a package for Python and not here.
    """
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


def make_transformers_importable() -> None:
    """Hide a stand-in for torchcodec, if there is one; call it before anything of transformers is imported.

    PaddleFormers installs a package of that name which is not torchcodec. transformers takes it for the real one, and
    fails when it asks for the version of that. Neither is needed for images.
    """
    if "torchcodec" in sys.modules or importlib.util.find_spec("torchcodec") is None:
        return
    try:
        importlib.metadata.version("torchcodec")
    except importlib.metadata.PackageNotFoundError:
        sys.modules["torchcodec"] = None  # type: ignore[assignment] # this is how Python knows a package as absent
