"""Every connection is started once, at its time by the clock, however the run is split over processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.load.pacing import Pacer, Schedule


@given(count=st.integers(0, 500), step=st.integers(1, 9))
def test_shares_are_the_whole_and_do_not_overlap(count: int, step: int) -> None:
    shares = [Schedule(count, 10.0, first, step).share for first in range(step)]
    assert sorted(index for share in shares for index in share) == list(range(count))


def test_due_times_come_from_the_rate_of_the_whole_run() -> None:
    second_of_four = Schedule(100, 50.0, first=1, step=4)
    assert [second_of_four.due(index) for index in second_of_four.share][:3] == [0.02, 0.1, 0.18]


@given(count=st.integers(0, 200), at=st.lists(st.floats(0, 30), max_size=40), burst=st.integers(1, 20))
def test_a_pacer_takes_each_once_in_order_and_none_early(count: int, at: list[float], burst: int) -> None:
    pacer = Pacer(Schedule(count, 10.0))
    taken = []
    for elapsed in [*sorted(at), *[1000.0] * count]:
        batch = pacer.take(elapsed, burst)
        assert len(batch) <= burst
        assert all(due <= elapsed for _, due in batch)
        taken += batch
    assert [index for index, _ in taken] == list(range(count))
    assert pacer.next_due is None


def test_a_stall_leaves_the_due_times_where_they_were() -> None:
    pacer = Pacer(Schedule(10, 1.0))
    assert pacer.take(5.5, at_most=100) == [(index, float(index)) for index in range(6)]
    assert pacer.next_due == 6.0


@pytest.mark.parametrize(("count", "rate", "first", "step"), [(1, 0, 0, 1), (1, -1, 0, 1), (-1, 1, 0, 1), (1, 1, 2, 2)])
def test_an_impossible_schedule_is_refused(count: int, rate: float, first: int, step: int) -> None:
    with pytest.raises(ValueError, match=r"expected|share"):
        Schedule(count, rate, first, step)
