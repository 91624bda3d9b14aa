"""The tensors of a model folder, in one safetensors file or several, read one at a time."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ocrvl_modal.errors import OcrvlError, not_found

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_RENAMED = (("model.language_model.", "model."), ("model.visual.", "visual."), ("model.projector.", "mlp_AR."))


class WeightFiles:
    """The open weight files of a folder. Nothing is loaded before :meth:`tensor` is called."""

    def __init__(self, folder: Path) -> None:
        """Open the files; raise *not found* where there are none, and an error for one that is not whole."""
        from safetensors import SafetensorError, safe_open

        self._stack = ExitStack()
        self._file_of: dict[str, Any] = {}
        for path in find_weight_files(folder):
            try:
                opened = self._stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                self._stack.close()
                raise OcrvlError(f"{path} cannot be read: {error}", "take it from where it came from again") from error
            self._file_of.update(dict.fromkeys(opened.keys(), opened))

    def __enter__(self) -> WeightFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """The names of all tensors, as they stand in the files."""
        return sorted(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without loading it."""
        return tuple(self._file_of[name].get_slice(name).get_shape())

    def tensor(self, name: str) -> Any:
        """Load one tensor."""
        return self._file_of[name].get_tensor(name)


def find_weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder: ``model.safetensors``, or the shards of an index.

    Raises *not found* where there are none, and a data error where the index names a file that is not there.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    if (folder / INDEX).is_file():
        shards = _listed_in_index(folder)
    if not shards:
        raise not_found(f"there are no weights in {folder}: {WEIGHTS} is missing", "name a folder that holds a model")
    return shards


def canonical_name(name: str) -> str:
    """Return the name that the family's own files give a tensor that transformers calls otherwise in memory."""
    for there, here in _RENAMED:
        if name.startswith(there):
            return here + name.removeprefix(there)
    return name


def _listed_in_index(folder: Path) -> list[Path]:
    index = folder / INDEX
    try:
        listed = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise OcrvlError(f"{index} is not an index of weights", "take it from where it came from again") from error
    missing = [name for name in listed if not (folder / name).is_file()]
    if missing:
        raise OcrvlError(
            f"{index} names files that are not there: {', '.join(missing)}", "take them from where they came from"
        )
    return [folder / name for name in listed]
