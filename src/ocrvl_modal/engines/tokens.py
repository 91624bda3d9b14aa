"""Counting tokens with a model's own tokenizer, without loading the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def token_counter(model: Path) -> Callable[[str], int] | None:
    """Return a function that counts the tokens of a text.

    ``None`` where the model has no tokenizer on this machine, or the tokenizers library is not installed.
    """
    file = model / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    tokenizer = Tokenizer.from_file(str(file))

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count
