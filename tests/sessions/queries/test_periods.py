from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.sessions.queries.periods import Period, Point, filled


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-28T{text}").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "hours", "minutes"),
    [
        ("13:30:20", "16:10:05", ("14:00", "16:00"), ("13:30", "16:11")),
        ("13:00", "16:00", ("13:00", "16:00"), ("13:00", "16:00")),
        ("13:10", "13:40", ("13:40", "13:40"), ("13:10", "13:40")),
        ("13:50", "14:10", ("14:10", "14:10"), ("13:50", "14:10")),
    ],
)
def test_whole_hours_are_counted_by_hour_and_the_rest_by_minute(since, until, hours, minutes):
    wanted = tuple(map(at, (*hours, *minutes)))
    assert Period(at(since), at(until)).counted == wanted


def test_no_moment_is_counted_twice_or_left_out():
    start = at("11:58")
    for minutes in range(1, 400, 7):
        period = Period(start, start + timedelta(minutes=minutes))
        first, last, since, until = period.counted
        by_hour = (last - first) // timedelta(minutes=1)
        by_minute = ((first - since) + (until - last)) // timedelta(minutes=1)
        assert by_hour + by_minute == minutes and since <= first <= last <= until


def test_a_curve_has_a_point_for_each_step_also_without_counts():
    period = Period(at("13:00:30"), at("13:02:10"))
    assert filled(period, {at("13:01"): 4}) == [Point(at("13:00"), 0), Point(at("13:01"), 4), Point(at("13:02"), 0)]
    assert Period(at("00:10"), at("07:10")).step_s == 3600


def test_the_period_before_is_as_long():
    assert Period(at("13:30"), at("14:30")).before == Period(at("12:30"), at("13:30"))
