"""Counting tokens with a model's own tokenizer, without loading the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ocrvl_modal.errors import data_error, first_line


def batch_counter(model: Path) -> Callable[[Sequence[str]], list[int]] | None:
    """Return a function that counts the tokens of each of several texts, none cut and none filled up.

    ``None`` where the model has no tokenizer on this machine, or the tokenizers library is not installed. Raises a
    data error for a tokenizer that cannot be read.
    """
    file = model / "tokenizer.json"
    tokenizer = _load(file)
    return None if tokenizer is None else _BatchCounter(file, tokenizer)


class _BatchCounter:
    """Counts with the tokenizer of a file; another process that it is sent to loads that itself."""

    def __init__(self, file: Path, tokenizer: Any) -> None:
        self._file = file
        self._tokenizer = tokenizer

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return _counter_of, (self._file,)

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _counter_of(file: Path) -> _BatchCounter:
    return _BatchCounter(file, _load(file))


def _load(file: Path) -> Any:
    if not file.is_file():
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library has no class of its own for it
        raise data_error(
            f"{file} is no tokenizer: {first_line(error)}", "ocrvl model ls, then fetch it again"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
