from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.sessions.queries.periods import (
    DAY_S,
    FIRST_DAY,
    HOUR_S,
    LAST_DAY,
    MINUTE_S,
    Period,
    Point,
    ceiling,
    filled,
    floor,
)


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
    found = Period(at(since), at(until)).rounded(MINUTE_S).counted
    assert found[2:] == wanted and found[0] == found[1] == wanted[1]


def test_whole_days_are_counted_by_day():
    period = Period(at("22:30"), at("22:30") + timedelta(days=2, hours=4))
    midnight, end = at("00:00") + timedelta(days=1), at("00:00") + timedelta(days=3)
    hours = at("23:00"), at("02:00") + timedelta(days=3)
    assert period.counted == (midnight, end, *hours, period.since, period.until)
    assert period.counted_up_to(HOUR_S) == (hours[1], hours[1], *hours, period.since, period.until)
    assert period.counted_up_to(MINUTE_S) == (*[period.until] * 4, period.since, period.until)


@pytest.mark.parametrize("width_s", [MINUTE_S, HOUR_S, DAY_S])
def test_no_moment_is_counted_twice_or_left_out(width_s):
    start = at("11:58")
    for minutes in range(1, 6000, 7):
        period = Period(start, start + timedelta(minutes=minutes))
        day, last_day, hour, last_hour, since, until = period.counted_up_to(width_s)
        stretches = [(day, last_day), (hour, day), (last_day, last_hour), (since, hour), (last_hour, until)]
        assert sum(((end - begin) for begin, end in stretches), timedelta()) == timedelta(minutes=minutes)
        assert since <= hour <= day <= last_day <= last_hour <= until


def test_a_curve_has_a_point_for_each_step_also_without_counts():
    period = Period(at("13:00:30"), at("13:02:10"))
    assert filled(period, {at("13:01"): 4}) == [Point(at("13:00"), 0), Point(at("13:01"), 4), Point(at("13:02"), 0)]
    assert Period(at("00:10"), at("07:10")).step_s == 3600
    assert Period(at("00:10"), at("00:10") + timedelta(days=5)).step_s == 86_400


def test_a_period_is_rounded_outwards_and_its_curve_keeps_its_steps():
    asked = Period(at("08:30:59.5"), at("14:31:00.5"))
    assert asked.rounded(MINUTE_S) == Period(at("08:30"), at("14:32"))
    assert asked.rounded(HOUR_S) == Period(at("08:00"), at("15:00"))
    assert asked.rounded(MINUTE_S).rounded(MINUTE_S) == asked.rounded(MINUTE_S)
    assert asked.step_s == asked.rounded(MINUTE_S).step_s == MINUTE_S
    assert Period(at("08:30"), at("14:33")).step_s == HOUR_S


def test_the_period_before_is_as_long():
    assert Period(at("13:30"), at("14:30")).before == Period(at("12:30"), at("13:30"))


def test_the_period_before_ends_with_the_calendar():
    since, until = FIRST_DAY + timedelta(days=1), FIRST_DAY + timedelta(days=90)
    assert Period(since, until).before == Period(FIRST_DAY, since)
    assert Period(FIRST_DAY, until).before == Period(FIRST_DAY, FIRST_DAY)


@pytest.mark.parametrize("around", [datetime(1969, 12, 31, 23, 59, tzinfo=UTC), LAST_DAY, FIRST_DAY, at("00:00")])
@pytest.mark.parametrize("step_s", [MINUTE_S, HOUR_S, DAY_S])
def test_a_step_has_its_moments_to_the_microsecond(around, step_s):
    begins = floor(around, step_s)
    step, least = timedelta(seconds=step_s), timedelta(microseconds=1)
    for moment in (begins + least, begins + step / 2, begins + step - least):
        assert (floor(moment, step_s), ceiling(moment, step_s)) == (begins, begins + step)
    assert Period(begins + step - 2 * least, begins + step - least).points
