from __future__ import annotations

from services.metrics.capacity.levels import FORGET_S, MAX_LEVELS, Levels
from tests.metrics.capacity.edges import minute


def test_a_quiet_night_does_not_wash_out_a_busy_hour():
    levels = Levels()
    levels.add(minute(4000, 20_000, at=0))
    for at in range(600):
        levels.add(minute(10, at=60 * at))
    assert [(round(one.mean.connections), one.minutes) for one in levels] == [(4000, 1), (10, 600)]
    assert max(one.weight for one in levels) <= 30


def test_within_a_level_newer_minutes_replace_older_ones():
    """A release that costs half is believed after half an hour at that load, not after as long as the old one ran."""
    levels = Levels()
    for at in range(1000):
        levels.add(minute(1000, at=60 * at)._replace(cpu=0.8))
    for at in range(1000, 1100):
        levels.add(minute(1000, at=60 * at)._replace(cpu=0.4))
    (level,) = levels
    assert level.mean.cpu < 0.42


def test_starts_and_drains_are_no_levels():
    levels = Levels()
    levels.add(minute(100, draining=True))
    levels.add(minute(100)._replace(seconds=20))
    assert len(levels) == 0


def test_it_is_bounded_and_forgets():
    levels = Levels()
    for number in range(3 * MAX_LEVELS):
        levels.add(minute(2.0 ** (number % 40), 2.0 ** (number // 40), at=number))
    assert len(levels) == MAX_LEVELS
    levels.add(minute(10, at=FORGET_S + 10_000))
    assert len(levels) == 1
