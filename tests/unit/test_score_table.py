from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from ocrvl_modal.evals.metrics import score
from ocrvl_modal.report.score_table import is_better, score_table, score_warnings, verdict

TARGET = "abcd"


def result_of(base: str, tuned: str, **more: Any) -> dict[str, Any]:
    scores = {word: score([(text, TARGET)]).to_dict() for word, text in (("base", base), ("tuned", tuned))}
    none = {"base": 0, "tuned": 0}
    return {
        "samples": 1,
        "max_new_tokens": 9,
        "scores": scores,
        "by_prompt": {"OCR:": scores},
        "errors": none,
        "truncated": none,
        **more,
    }


def shown(result: dict[str, Any]) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(score_table(result))
    return capture.get()


@pytest.mark.parametrize(
    ("base", "tuned", "words", "better"),
    [
        ("axxx", "abcd", "better than base: CER 0.0000, and 0.7500 before", True),
        ("abcd", "abcx", "WORSE than base", False),
        ("abcx", "abxd", "no better than base", False),
        # A model that writes nothing has CER 1, one that writes much too much a higher one.
        ("abcdabcdabcd", "", "The scores disagree", False),
    ],
)
def test_the_verdict_goes_by_both_error_rates(base: str, tuned: str, words: str, better: bool) -> None:
    result = result_of(base, tuned)
    assert words in verdict(result)
    assert is_better(result) is better


def test_the_table_shows_both_models_and_the_change() -> None:
    lines = shown(result_of("axxx", "abcd")).splitlines()
    assert any(line.split() == ["CER", "0.7500", "0.0000", "-0.7500"] for line in lines)
    assert any(line.split() == ["read", "exactly", "0.0%", "100.0%", "+100.0", "points"] for line in lines)


def test_several_prompts_are_shown_apart() -> None:
    result = result_of("axxx", "abcd")
    assert "OCR:" not in shown(result)
    result["by_prompt"] |= {"Table Recognition:": result["scores"]}
    assert "OCR: (1 samples)" in shown(result)
    assert "Table Recognition: (1 samples)" in shown(result)


def test_samples_that_were_not_read_are_never_silent() -> None:
    result = result_of("a", "b", errors={"base": 0, "tuned": 1}, truncated={"base": 1, "tuned": 0})
    failed, cut_off = score_warnings(result)
    assert "tuned could not read 1 of 1 samples" in failed
    assert "base was still writing at 9 tokens in 1 of 1 samples" in cut_off
    assert score_warnings(result_of("a", "b")) == []
