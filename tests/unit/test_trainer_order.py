"""The order of samples is a pure function, and forgets or doubles none."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.engines.trainer.order import WINDOW_STEPS, DataOrder

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=90)
SIZES = st.integers(1, 6)


def make_order(
    lengths: list[int], seed: int = 0, per_device: int = 2, micro_batches: int = 3, group_by_length: bool = True
) -> DataOrder:
    return DataOrder(
        lengths, seed=seed, per_device=per_device, micro_batches=micro_batches, group_by_length=group_by_length
    )


def samples_of(order: DataOrder, steps: range) -> list[int]:
    return [sample for step in steps for batch in order.step(step) for sample in batch]


@given(LENGTHS, st.integers(0, 99), SIZES, SIZES, st.booleans())
def test_every_pass_over_the_data_has_each_sample_once(
    lengths: list[int], seed: int, per_device: int, micro_batches: int, grouped: bool
) -> None:
    order = make_order(lengths, seed, per_device, micro_batches, grouped)
    # So many steps are a whole number of passes and of windows, whatever the sizes.
    windows = max(1, min(WINDOW_STEPS, len(lengths) // (per_device * micro_batches)))
    counts = Counter(samples_of(order, range(1, len(lengths) * windows + 1)))
    assert set(counts) == set(range(len(lengths)))
    assert set(counts.values()) == {per_device * micro_batches * windows}


@given(LENGTHS, st.integers(0, 99), st.booleans(), st.lists(st.integers(1, 200), max_size=8))
def test_a_step_is_the_same_whichever_steps_were_asked_before(
    lengths: list[int], seed: int, grouped: bool, asked: list[int]
) -> None:
    used = make_order(lengths, seed, group_by_length=grouped)
    for step in asked:
        assert used.step(step) == make_order(lengths, seed, group_by_length=grouped).step(step)


@given(LENGTHS, st.integers(1, 60), st.sampled_from([1, 2, 3, 4, 6, 12]), st.booleans())
def test_processes_share_a_step_without_changing_it(
    lengths: list[int], step: int, world_size: int, grouped: bool
) -> None:
    order = make_order(lengths, micro_batches=12, group_by_length=grouped)
    shares = [order.share(step, rank, world_size) for rank in range(world_size)]
    assert {len(share) for share in shares} == {12 // world_size}
    assert sorted(batch for share in shares for batch in share) == sorted(order.step(step))


@given(LENGTHS, st.integers(1, 60), SIZES, SIZES)
def test_every_step_is_full(lengths: list[int], step: int, per_device: int, micro_batches: int) -> None:
    batches = make_order(lengths, per_device=per_device, micro_batches=micro_batches).step(step)
    assert [len(batch) for batch in batches] == [per_device] * micro_batches


def test_grouping_by_length_saves_most_of_the_padding() -> None:
    lengths = [(number * 37) % 400 + 1 for number in range(2000)]

    def padding(grouped: bool) -> int:
        order = make_order(lengths, per_device=8, micro_batches=2, group_by_length=grouped)
        batches = [batch for step in range(1, 65) for batch in order.step(step)]
        return sum(max(lengths[sample] for sample in batch) - lengths[sample] for batch in batches for sample in batch)

    assert padding(grouped=True) < padding(grouped=False) / 10


def test_the_longest_batch_of_a_step_comes_first() -> None:
    order = make_order(list(range(1, 100)), micro_batches=6)
    for step in range(1, 17):
        longest = [max(batch) for batch in order.step(step)]
        assert longest == sorted(longest, reverse=True)


def test_another_seed_gives_another_order() -> None:
    lengths = [7] * 60
    assert samples_of(make_order(lengths, seed=1), range(1, 11)) != samples_of(
        make_order(lengths, seed=2), range(1, 11)
    )


def test_no_batch_holds_a_sample_more_often_than_passes_meet_in_it() -> None:
    order = make_order([5, 6, 7] * 10, per_device=4, micro_batches=1)
    for step in range(1, 61):
        assert max(Counter(order.step(step)[0]).values()) <= 2
