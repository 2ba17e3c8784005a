"""Token buckets: so many at once, so many a second in the long run, and none that is kept for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.chassis.process.settings import Rate
from services.edge import token_buckets
from services.edge.token_buckets import TokenBuckets

START = 1_767_225_600.0


def test_so_many_are_there_at_once_and_then_none() -> None:
    buckets = TokenBuckets(Rate(3, 1))
    assert [buckets.take("a", START) for _ in range(3)] == [0.0] * 3
    assert buckets.take("a", START) > 0


def test_a_refusal_tells_when_there_will_be_enough_and_takes_nothing() -> None:
    buckets = TokenBuckets(Rate(10, 5))
    assert buckets.take("a", START, 10) == 0.0
    wait = buckets.take("a", START, 4)
    assert abs(wait - 2.0) < 0.001
    assert [buckets.take("a", START, 4) for _ in range(100)] == [wait] * 100
    assert buckets.take("a", START + wait, 4) == 0.0


def test_keys_have_buckets_of_their_own() -> None:
    buckets = TokenBuckets(Rate(1, 1))
    assert buckets.take("a", START) == buckets.take("b", START) == 0.0
    assert buckets.take("a", START) > 0 < buckets.take("b", START)


def test_without_a_rate_there_is_no_limit_and_nothing_is_kept() -> None:
    buckets = TokenBuckets(Rate())
    assert not any(buckets.take("a", START, 1_000_000) for _ in range(100))
    assert len(buckets) == 0


def test_buckets_that_are_full_again_are_forgotten() -> None:
    buckets = TokenBuckets(Rate(10, 1))
    for number in range(1000):
        buckets.take(str(number), START)
    assert len(buckets) == 1000
    for second in (1.0, 2.0):
        buckets.take("later", START + second)
    assert len(buckets) <= 2


def test_a_flood_of_keys_takes_bounded_memory_and_refuses_no_other(monkeypatch) -> None:
    monkeypatch.setattr(token_buckets, "MAX_KEYS", 10)
    buckets = TokenBuckets(Rate(2, 1))
    for number in range(1000):
        assert buckets.take(str(number), START) == 0.0
        assert len(buckets) <= 20
    assert buckets.take("999", START) == 0.0 < buckets.take("999", START), "the newest are still known"


def test_who_comes_again_all_the_time_is_not_forgotten_in_a_flood_of_keys(monkeypatch) -> None:
    monkeypatch.setattr(token_buckets, "MAX_KEYS", 10)
    buckets, taken = TokenBuckets(Rate(3, 1000)), 0
    for number in range(200):
        buckets.take(str(number), START)
        taken += not buckets.take("again", START)
    assert taken == 3


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5), st.booleans()), max_size=40))
def test_what_is_given_back_was_never_taken(takes: list[tuple[float, int, bool]]) -> None:
    buckets, others, now = TokenBuckets(Rate(5, 10)), TokenBuckets(Rate(5, 10)), START
    for pause, amount, is_kept in takes:
        now += pause
        wait = buckets.take("a", now, amount)
        if wait:
            assert abs(wait - others.take("a", now, amount)) < 0.001
        elif is_kept:
            assert others.take("a", now, amount) == 0.0
        else:
            buckets.give_back("a", now, amount)


def test_a_bucket_that_is_full_again_by_that_is_not_kept() -> None:
    buckets = TokenBuckets(Rate(5, 10))
    buckets.take("a", START, 5)
    buckets.give_back("a", START, 5)
    assert len(buckets) == 0
    TokenBuckets(Rate()).give_back("a", START)


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    buckets = TokenBuckets(Rate(2, 1))
    assert buckets.take("a", START, 2) == 0.0
    assert buckets.take("a", START - 3600, 2) == 0.0


@given(
    st.integers(1, 20),
    st.sampled_from((0.5, 1.0, 10.0)),
    st.lists(st.tuples(st.floats(0, 15), st.integers(1, 5)), max_size=60),
)
def test_never_more_than_the_bucket_and_what_has_dripped_into_it(
    amount: int, seconds: float, takes: list[tuple[float, int]]
) -> None:
    """In any stretch of time, whatever the turns of generations, but for half a token of rounding."""
    buckets, now, taken = TokenBuckets(Rate(amount, seconds)), START, list[tuple[float, int]]()
    for pause, wanted in takes:
        now += pause
        if not buckets.take("a", now, wanted):
            taken.append((now, wanted))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            stretch = taken[last][0] - taken[first][0]
            assert sum(count for _, count in taken[first : last + 1]) <= amount + stretch * amount / seconds + 0.51


@given(st.integers(1, 50), st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60))
def test_who_keeps_to_the_rate_is_never_refused(amount: int, pauses: list[float]) -> None:
    buckets, now = TokenBuckets(Rate(amount, 10)), START
    for pause in pauses:
        now += 10 / amount + pause
        assert buckets.take("a", now) == 0.0
