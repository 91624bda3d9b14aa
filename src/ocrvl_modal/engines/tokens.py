"""Counting tokens with a model's own tokenizer, without loading the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ocrvl_modal.errors import data_error, first_line


def token_counter(model: Path) -> Callable[[str], int] | None:
    """Return a function that counts the tokens of a text.

    ``None`` where the model has no tokenizer on this machine, or the tokenizers library is not installed. Raises a
    data error for a tokenizer that cannot be read.
    """
    file = model / "tokenizer.json"
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

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count
