"""How many tokens a sample takes: as the engines count them, or an estimate where there is no tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

CountMany = Callable[[Sequence[str]], list[int]]
"""Tells how many tokens each of several texts takes, as :func:`ocrvl_modal.engines.tokens.batch_counter` returns it."""

_TAIL = "Assistant: "
_BEFORE_PROMPT = "<|begin_of_sentence|>User: <|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
_PLACEHOLDERS = 1
_END_TOKEN = 1
_MARK = re.compile(r"<\|[A-Za-z_]+\d*\|>")


class TextLengths:
    """Counts the tokens of samples' text, many samples at a time.

    ``count_many`` is the model's tokenizer; without it the numbers are estimates, see :func:`estimate`. ``tail`` is
    what the family member has between prompt and answer.
    """

    def __init__(self, count_many: CountMany | None = None, tail: str = _TAIL) -> None:
        self.are_counted = count_many is not None
        self._count_many = count_many or estimate
        self._tail = tail
        self._prompts: dict[str, int] = {}

    def of(self, prompts: Sequence[str], targets: Sequence[str]) -> list[int]:
        """Return, for each sample, its tokens without those that stand for the image.

        These are begin of sentence, prompt, the image's start and end, the assistant's tail, target and end. With the
        vision tokens they are the length that ``max_seq_len`` limits.
        """
        asked = [self._of_prompt(prompt) for prompt in prompts]
        return [prompt + target + _END_TOKEN for prompt, target in zip(asked, self._count_many(targets), strict=True)]

    def _of_prompt(self, prompt: str) -> int:
        if prompt not in self._prompts:
            (tokens,) = self._count_many([f"{_BEFORE_PROMPT}{prompt}\n{self._tail}"])
            self._prompts[prompt] = tokens - _PLACEHOLDERS
        return self._prompts[prompt]


def estimate(texts: Sequence[str]) -> list[int]:
    """Return, in place of each text's count, one token a character, and one for each mark such as ``<|LOC_12|>``.

    That is a bound from above for characters that the tokenizer knows: words take far fewer.
    A character that it does not know takes as many tokens as it has bytes in UTF-8, up to four.
    """
    return [_estimate(text) for text in texts]


def _estimate(text: str) -> int:
    if "<|" not in text:
        return len(text)
    return len(text) - sum(len(mark) - 1 for mark in _MARK.findall(text))
