"""The training job: whatever ends an attempt, the record tells the truth and the next start goes on from it."""

from __future__ import annotations

from jobs.standin import STEPS, House, learned_after


def test_a_run_trains_exports_and_is_done(house: House) -> None:
    record = house.train("a")
    assert (record.state, record.step, record.error) == ("done", STEPS, None)
    assert house.learned("a") == learned_after(STEPS)
    assert house.steps("a") == list(range(1, STEPS + 1))
