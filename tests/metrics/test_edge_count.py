from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from services.metrics.edge_count import CountSettings, EdgeCount, Situation

SETTINGS = CountSettings(least=1, most=10, spare=1, lead_s=600, scale_in_after_s=1800)


def nothing_ahead(until: float) -> float:
    return 0.0


def peak_at(peak: float, until: float) -> float:
    return 4.5 if until >= peak else 0.0


def now_(
    needed: float, serving: int = 2, draining: int = 0, ahead: Callable[[float], float] = nothing_ahead
) -> Situation:
    return Situation(needed, serving, draining, ahead)


@pytest.mark.parametrize(
    ("needed", "expected"), [(0.0, 1), (0.1, 2), (1.0, 2), (1.01, 3), (4.5, 6), (100.0, 10)]
)  # fmt: skip
def test_it_carries_the_load_and_the_loss_of_the_spare_within_the_bounds(needed: float, expected: int):
    assert EdgeCount(SETTINGS).decide(0, now_(needed, serving=0)) == expected


def test_up_at_once():
    count = EdgeCount(SETTINGS)
    count.decide(0, now_(0.5))
    assert count.decide(60, now_(4.2)) == 6


def test_up_before_the_load_comes():
    """What is foreseen within the time that a new edge takes counts as if it were there."""
    count = EdgeCount(SETTINGS)
    assert count.decide(0, now_(1.0, ahead=lambda until: 5.0 if until >= 3600 else 0.0)) == 2
    assert count.decide(3000, now_(1.0, ahead=lambda until: 5.0 if until >= 3600 else 0.0)) == 6


def test_down_late_and_one_at_a_time():
    count = EdgeCount(SETTINGS)
    count.decide(0, now_(4.5, serving=6))
    told = {minute: count.decide(60 * minute, now_(1.5, serving=6)) for minute in range(1, 180)}
    assert [told[minute] for minute in (30, 31, 60, 61, 91, 121, 179)] == [6, 5, 5, 4, 3, 3, 3]


def test_a_short_lull_changes_nothing():
    count = EdgeCount(SETTINGS)
    for minute in range(240):
        busy = minute % 25 == 0
        assert count.decide(60 * minute, now_(4.5 if busy else 1.0, serving=6)) == 6


def test_load_that_hovers_around_a_bound_does_not_flap():
    count = EdgeCount(SETTINGS)
    told = [count.decide(60 * minute, now_(3.02 if minute % 2 else 2.95, serving=5)) for minute in range(1, 600)]
    assert set(told) == {5}
    told = [count.decide(60 * minute, now_(2.95, serving=5)) for minute in range(600, 1200)]
    assert set(told) == {5}  # within the margin
    assert count.decide(60 * 1200, now_(2.5, serving=5)) == 5


def test_no_edge_leaves_while_one_drains_and_the_wait_starts_again():
    count = EdgeCount(SETTINGS)
    count.decide(0, now_(4.5, serving=6))
    for minute in range(1, 100):
        assert count.decide(60 * minute, now_(1.0, serving=5, draining=1)) == 6
    assert count.decide(6000, now_(1.0, serving=5)) == 6
    assert count.decide(6000 + 1740, now_(1.0, serving=5)) == 6
    assert count.decide(6000 + 1800, now_(1.0, serving=5)) == 5


def test_no_edge_leaves_before_a_peak_that_is_foreseen():
    count = EdgeCount(SETTINGS)
    count.decide(0, now_(4.5, serving=6))
    for minute in range(1, 300):
        assert count.decide(60 * minute, now_(1.0, serving=6, ahead=partial(peak_at, 60 * minute + 1500))) == 6


def test_a_new_instance_of_the_service_takes_nothing_away_at_once():
    count = EdgeCount(SETTINGS)
    assert count.decide(0, now_(1.0, serving=7)) == 7
    assert count.decide(60, now_(1.0, serving=7)) == 7
    assert EdgeCount(SETTINGS).decide(0, now_(1.0, serving=50)) == 10
