"""When a backend is not asked any more, and when it is asked again."""

from __future__ import annotations

from services.edge.backend.breaker import Breaker


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker(3, 2.0)
    assert [breaker.failed(now) for _ in range(3)] == [False, False, True]
    return breaker


def test_it_opens_after_failures_in_a_row_and_an_answer_between_them_counts_from_the_start() -> None:
    breaker = Breaker(3, 2.0)
    for _ in range(5):
        assert not breaker.failed(1.0) and not breaker.failed(1.0)
        assert not breaker.answered()
    assert breaker.lets_through(1.0) and not breaker.is_open
    assert opened().is_open


def test_while_it_is_open_nobody_is_let_through_until_the_pause_is_over_and_then_one() -> None:
    breaker = opened(100.0)
    assert not breaker.lets_through(100.0) and not breaker.lets_through(101.9)
    assert breaker.lets_through(102.0)
    assert not breaker.lets_through(102.0), "one tries"
    assert breaker.lets_through(104.0), "the one that tried may have been cut off: another one tries"


def test_an_answer_closes_it_for_all_and_another_failure_opens_it_anew() -> None:
    breaker = opened(100.0)
    assert breaker.lets_through(102.0) and breaker.answered()
    assert breaker.lets_through(102.0) and breaker.lets_through(102.0)

    breaker = opened(100.0)
    assert breaker.lets_through(102.0)
    assert not breaker.failed(103.0), "that is no news"
    assert not breaker.lets_through(104.9) and breaker.lets_through(105.0)


def test_without_a_limit_it_never_opens() -> None:
    breaker = Breaker(0, 2.0)
    assert not any(breaker.failed(1.0) for _ in range(1000))
    assert breaker.lets_through(1.0) and not breaker.answered()
