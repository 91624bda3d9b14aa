"""Samples are as long as the engines' own encoders make them, and an estimate is never shorter."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocrvl_modal.data.checking.lengths import TextLengths, estimate
from ocrvl_modal.engines.tokens import batch_counter
from ocrvl_modal.models import FAMILY, FamilyMember

TARGETS = ["12 ab", "", "a\nb", "<fcel>1<ecel><nl>", "\u0f40\u4e2d é", "x<|LOC_7|><|LOC_1000|>", "</td>{{content}}"]


@pytest.mark.parametrize("member", [FAMILY["tiny"], FAMILY["paddleocr-vl-1.6"]])
def test_text_is_as_long_as_its_pieces_are_encoded(tiny: Path, member: FamilyMember) -> None:
    from ocrvl_modal.engines.reader import load_tokenizer

    tokenizer = load_tokenizer(tiny)
    lengths = TextLengths(batch_counter(tiny), member.assistant_tail)
    prompts = list(member.prompts.values()) * len(TARGETS)
    targets = TARGETS * len(member.prompts)

    def tokens(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    # One placeholder stands in the prompt for all of the image's tokens, which are counted elsewhere.
    placeholder, end = 1, 1
    pairs = zip(prompts, targets, strict=True)
    expected = [tokens(member.render_prompt(prompt)) - placeholder + tokens(target) + end for prompt, target in pairs]
    assert lengths.of(prompts, targets) == expected
    assert lengths.are_counted


def test_an_estimate_is_not_below_the_count(tiny: Path) -> None:
    counted, estimated = TextLengths(batch_counter(tiny)), TextLengths()
    # The tiny model has no token for a place, as the real ones have.
    targets = [target for target in TARGETS if "LOC" not in target]
    prompts = ["OCR:"] * len(targets)
    pairs = zip(counted.of(prompts, targets), estimated.of(prompts, targets), strict=True)
    assert all(count <= bound for count, bound in pairs)
    assert not estimated.are_counted


def test_a_mark_counts_once_in_an_estimate() -> None:
    assert estimate(["ab", "a<|LOC_12|>b", "<|LOC_0|>" * 8, "<|not closed", "<|x|y|>", ""]) == [2, 3, 8, 12, 7, 0]


def test_a_tokenizer_s_own_cuts_and_filling_do_not_count(tiny: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=30)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    cutting, whole = batch_counter(tmp_path), batch_counter(tiny)
    assert cutting is not None
    assert whole is not None
    assert cutting(TARGETS) == whole(TARGETS)
    assert [cutting([text])[0] for text in TARGETS] == whole(TARGETS)
