"""The trainer's lines are read back as they were meant, whatever else stands in the log."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.engines.trainer import lines
from ocrvl_modal.errors import ExitCode, OcrvlError

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE, FINITE, st.integers(1, 10**9))
def test_no_digit_of_a_number_is_lost(loss: float, rate: float, step: int) -> None:
    read = lines.parse_values(lines.format_values(loss=loss, learning_rate=rate, global_step=step) + "\n")
    assert read == {"loss": loss, "learning_rate": rate, "global_step": step}
    assert read is not None and math.copysign(1, read["loss"]) == math.copysign(1, loss)


@given(st.text(), st.text(), st.sampled_from(ExitCode))
def test_an_error_arrives_as_it_was_raised(message: str, hint: str, code: ExitCode) -> None:
    read = lines.parse_error(lines.format_error(OcrvlError(message, hint, code)))
    assert read is not None
    assert (read.message, read.hint, read.code) == (message, hint, code)


@given(st.integers(0, 10**9))
def test_a_saved_checkpoint_is_read_back(step: int) -> None:
    assert lines.parse_saved(lines.format_saved(step) + "\n") == step


@given(st.text())
def test_no_line_makes_a_reader_raise(line: str) -> None:
    lines.parse_values(line)
    lines.parse_saved(line)
    lines.parse_error(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "loss: nan, learning_rate: 0.1, global_step: 3",
        "loss: 0.1, learning_rate: 0.1, global_step: 3 and more",
        "WARNING: loss: 0.1, global_step: 3",
        "loss: 0.25, learning_rate: 0.1, globloss: 0.5, learning_rate: 0.1, global_step: 4",
        "loss: 1_0, global_step: 4",
        "error: not json",
        "error: []",
        "error: {}",
        "error: " + "[" * 100_000,
        "saved checkpoint-",
        "saved checkpoint-12 of 20",
        "not saved checkpoint-12",
    ],
)
def test_what_only_looks_like_a_line_means_nothing(line: str) -> None:
    assert lines.parse_values(line) is None
    assert lines.parse_saved(line) is None
    assert lines.parse_error(line) is None
