from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.report.words import ago, count, duration, size


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_940_000_000, "1.8 GiB"),
        (5 * 2**40, "5.0 TiB"),
        (5000 * 2**40, "5000.0 TiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**30 - 1, "1.0 GiB"),
    ],
)
def test_sizes(size_bytes: float, words: str) -> None:
    assert size(size_bytes) == words


@given(st.integers(0, 2**49))
def test_no_size_has_more_than_four_digits_before_its_point(size_bytes: int) -> None:
    assert float(size(size_bytes).split()[0]) < 1024


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_moment_that_a_clock_puts_in_the_future_was_just_now() -> None:
    assert ago(datetime.now(timezone.utc) + timedelta(minutes=5)) == "0 s ago"
    assert ago(datetime.now(timezone.utc) - timedelta(hours=3, minutes=1)) == "3 h 01 min ago"


def test_thousands_stand_apart() -> None:
    assert count(1234567) == "1,234,567"
