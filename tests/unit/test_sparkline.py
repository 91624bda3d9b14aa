from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.report.sparkline import draw, sparkline

BLOCKS = " ▁▂▃▄▅▆▇█"
numbers = st.floats(min_value=-1e300, max_value=1e300)


@given(values=st.lists(numbers | st.sampled_from([math.nan, math.inf, -math.inf])), width=st.integers(1, 80))
def test_a_curve_is_one_line_of_blocks_that_fits(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert "\n" not in line
    assert set(line) <= set(BLOCKS) - {" "}
    assert len(line) == min(width, sum(map(math.isfinite, values)))


@given(values=st.lists(numbers, min_size=1), width=st.integers(1, 80), height=st.integers(1, 8))
def test_a_chart_has_its_height_and_every_column_stands_on_the_ground(
    values: list[float], width: int, height: int
) -> None:
    lines = draw(values, width, height)
    assert len(lines) == height
    assert {len(line) for line in lines} == {min(width, len(values))}
    for column in zip(*lines, strict=True):
        levels = [BLOCKS.index(block) for block in column]
        assert levels[-1] > 0
        assert all(above == 0 or below == 8 for above, below in itertools.pairwise(levels))


@given(values=st.lists(numbers, min_size=2, max_size=40))
def test_what_is_higher_is_never_drawn_lower(values: list[float]) -> None:
    line = sparkline(values, 40)
    for one, other in itertools.pairwise(range(len(values))):
        if values[one] < values[other]:
            assert BLOCKS.index(line[one]) <= BLOCKS.index(line[other])


def test_the_lowest_and_the_highest_are_seen_as_such() -> None:
    assert sparkline([3.0, 1.0, 2.0]) == "█▁▅"
    assert draw([0.0, 1.0], 2, 2) == [" █", "▁█"]


def test_equal_values_are_a_flat_line() -> None:
    assert sparkline([0.5] * 3) == "▁▁▁"


def test_more_values_than_columns_keep_the_curves_shape() -> None:
    assert sparkline([float(value) for value in range(800, 0, -1)], 8) == "█▇▆▅▄▃▂▁"


def test_without_values_there_is_no_curve() -> None:
    assert sparkline([]) == ""
    assert sparkline([math.nan]) == ""
    assert draw([], 10, 3) == ["", "", ""]
