from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.evals.metrics import character_error_rate, edits, normalized_edit_distance, score

CASES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "cases" / "text_metrics.json").read_text("utf-8"))

texts = st.text(max_size=20)


@pytest.mark.parametrize("case", CASES["texts"], ids=lambda case: case["name"])
def test_one_text_scores_as_other_implementations_score_it(case: dict[str, Any]) -> None:
    reading, target = case["reading"], case["target"]
    assert edits(reading, target) == case["edits"]
    assert normalized_edit_distance(reading, target) == pytest.approx(case["ned"], abs=1e-9)
    assert character_error_rate(reading, target) == pytest.approx(case["cer"], abs=1e-9)


def test_a_corpus_scores_as_other_implementations_score_it() -> None:
    corpus = CASES["corpus"]
    scores = score((pair["reading"], pair["target"]) for pair in corpus["pairs"])
    assert scores.cer == pytest.approx(corpus["cer"], abs=1e-9)
    assert scores.ned_micro == pytest.approx(corpus["ned_micro"], abs=1e-9)
    assert scores.ned == pytest.approx(corpus["ned"], abs=1e-9)
    assert scores.samples == 3


def test_a_reading_longer_than_its_target_has_an_error_rate_over_one() -> None:
    assert character_error_rate("abcabcabc", "abc") == 2.0
    assert normalized_edit_distance("abcabcabc", "abc") == pytest.approx(2 / 3)


def test_against_an_empty_target_every_character_is_one_error() -> None:
    assert character_error_rate("", "") == 0
    assert character_error_rate("abc", "") == 3
    assert normalized_edit_distance("abc", "") == 1
    assert score([("abc", "")]).cer == 3


def test_composed_and_decomposed_letters_are_different_texts() -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    assert score([(decomposed, composed)]).exact_match == 0


def test_long_samples_weigh_more_in_the_corpus_rate_and_not_in_the_mean() -> None:
    scores = score([("a" * 9, "a" * 9), ("b", "c")])
    assert scores.cer == pytest.approx(0.1)
    assert scores.cer_macro == pytest.approx(0.5)
    assert scores.exact_match == 0.5


def test_scores_stand_in_json_under_their_names() -> None:
    assert score([("ab", "ab")]).to_dict() == {
        "samples": 1,
        "cer": 0.0,
        "cer_macro": 0.0,
        "ned": 0.0,
        "ned_micro": 0.0,
        "exact_match": 1.0,
    }


def test_nothing_read_has_no_score() -> None:
    with pytest.raises(ValueError, match="nothing to score"):
        score([])


@given(texts, texts)
def test_the_normalized_distance_is_symmetric_and_within_0_and_1(one: str, other: str) -> None:
    distance = normalized_edit_distance(one, other)
    assert 0 <= distance <= 1
    assert distance == normalized_edit_distance(other, one)
    assert (distance == 0) == (one == other)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_the_corpus_rate_of_many_samples_lies_between_their_own(pairs: list[tuple[str, str]]) -> None:
    pairs = [(reading, target or "x") for reading, target in pairs]
    own = [character_error_rate(reading, target) for reading, target in pairs]
    assert min(own) - 1e-9 <= score(pairs).cer <= max(own) + 1e-9
