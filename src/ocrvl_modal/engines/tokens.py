"""Counting tokens with a model's own tokenizer, without loading the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def token_counter(model: Path) -> Callable[[str], int] | None:
    """Return a function that counts the tokens of a text, or ``None`` where the tokenizers library is not installed."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count
