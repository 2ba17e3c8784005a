"""Times as operators write them, in a zone with summer time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from services.sessions.commands.moments import BadMoment, beginning, moment, of_presence
from tests.sessions.commands.asked import zone

NOW = datetime(2026, 11, 28, 13, 30, tzinfo=UTC)  # 14:30 in Berlin


@pytest.fixture(autouse=True)
def berlin() -> Iterator[None]:
    with zone("CET-1CEST,M3.5.0,M10.5.0/3"):
        yield


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("now", "2026-11-28 13:30:00"),
        ("14:02", "2026-11-28 13:02:00"),
        ("9:05", "2026-11-28 08:05:00"),
        ("14:02:30", "2026-11-28 13:02:30"),
        ("14:02:30.5", "2026-11-28 13:02:30.500000"),
        ("14:30", "2026-11-28 13:30:00"),
        ("14:31", "2026-11-27 13:31:00"),  # not yet today
        ("today 14:02", "2026-11-28 13:02:00"),
        ("  Yesterday   14:02 ", "2026-11-27 13:02:00"),
        ("yesterday", "2026-11-26 23:00:00"),
        ("2026-11-27", "2026-11-26 23:00:00"),
        ("2026-11-27 14:02", "2026-11-27 13:02:00"),
        ("2026-07-01 14:02", "2026-07-01 12:02:00"),  # in summer
        ("14:02+02:00", "2026-11-28 12:02:00"),
        ("14:02:30.5 -01:00", "2026-11-27 15:02:30.500000"),  # it is 12:30 there
        ("yesterday 14:02:30+01:00", "2026-11-27 13:02:30"),
        ("2026-11-28T14:02:30+02:00", "2026-11-28 12:02:30"),
        ("2026-11-28T12:02:30Z", "2026-11-28 12:02:30"),
        ("2026-11-28t12:02:30z", "2026-11-28 12:02:30"),
        ("10m ago", "2026-11-28 13:20:00"),
        ("10 min ago", "2026-11-28 13:20:00"),
        ("1h30m ago", "2026-11-28 12:00:00"),
        ("2 days ago", "2026-11-26 13:30:00"),
        ("1 hour 30 minutes ago", "2026-11-28 12:00:00"),
    ],
)
def test_a_moment(text, utc):
    assert moment(text, NOW) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "text", "utc"),
    [
        ("2026-10-25 01:40", "02:30", "2026-10-25 01:30"),  # it is 02:40 for the second time
        ("2026-10-25 01:20", "02:30", "2026-10-25 00:30"),  # it is 02:20 for the second time
        ("2026-10-25 00:20", "02:30", "2026-10-24 00:30"),  # it is 02:20 for the first time
        ("2026-10-25 01:40", "02:30+02:00", "2026-10-25 00:30"),
        ("2026-10-26 00:00", "02:30", "2026-10-25 01:30"),
        ("2026-10-26 08:00", "yesterday 02:30", "2026-10-25 01:30"),
        ("2026-11-28 13:30", "2026-10-25 02:30", "2026-10-25 01:30"),
        ("2026-11-28 13:30", "2026-10-25 02:30+02:00", "2026-10-25 00:30"),
        ("2026-03-29 00:50", "02:30", "2026-03-28 01:30"),  # it is 01:50, just before the hour that is left out
        ("2026-03-29 10:00", "03:00", "2026-03-29 01:00"),
    ],
)
def test_where_clocks_are_changed_the_latest_moment_that_showed_this_time_is_meant(now, text, utc):
    assert moment(text, datetime.fromisoformat(f"{now}+00:00")) == datetime.fromisoformat(f"{utc}+00:00")


@pytest.mark.parametrize("text", ["02:30", "02:59:59", "today 02:30", "2026-03-29 02:30"])
def test_a_time_over_which_clocks_were_set_forward_is_refused(text):
    with pytest.raises(BadMoment, match=r"on 2026-03-29 clocks were set forward past it$"):
        beginning(text, datetime(2026, 3, 29, 10, tzinfo=UTC))


def test_a_day_that_has_no_midnight_begins_an_hour_later():
    now, begins = datetime(2026, 3, 29, 10, tzinfo=UTC), datetime(2026, 3, 28, 22, tzinfo=UTC)
    with zone("EET-2EEST,M3.5.0/0,M10.5.0/0"):  # Beirut
        assert moment("today", now) == moment("2026-03-29", now) == moment("01:00", now) == begins
        with pytest.raises(BadMoment, match="'00:30'"):
            moment("00:30", now)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "24:00",
        "14:60",
        "1402",
        "14",
        "-1h ago",
        "ago",
        "10 ago",
        "x ago",
        "today noon",
        "2026-13-01",
        "14:02+25:00",
        "14:02+0200",
        "١٤:٠٢",
    ],
)
def test_what_is_no_moment_is_told_with_what_would_be_one(text):
    with pytest.raises(BadMoment, match='expected a time such as "14:02"'):
        moment(text, NOW)


@pytest.mark.parametrize("text", ["2026-11-28 14:31", "today 15:00", "9999-12-30T23:59:59Z"])
def test_what_has_not_come_is_told_with_the_time_that_it_is(text):
    with pytest.raises(BadMoment, match=r"in the past, .*: it is now 2026-11-28 14:30:00 CET"):
        moment(text, NOW)


@pytest.mark.parametrize("text", ["1900-01-01", "0001-01-01", "99 days 9000000h ago", "40000d ago"])
def test_what_is_too_long_ago_is_refused(text):
    with pytest.raises(BadMoment):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("1h", "2026-11-28 12:30:00"),
        ("90 min", "2026-11-28 12:00:00"),
        ("1d", "2026-11-27 13:30:00"),
        ("14:00", "2026-11-28 13:00:00"),
        ("1h ago", "2026-11-28 12:30:00"),
        ("2026-11-28 14:02", "2026-11-28 13:02:00"),
    ],
)
def test_a_period_begins_a_duration_before_now_or_at_a_moment(text, utc):
    assert beginning(text, NOW) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("14:02:30", "13:02:30.999"),
        ("14:02", "13:02:00.999"),
        ("2026-11-28T13:02:30Z", "13:02:30.999"),
        ("14:02:30.5", "13:02:30.5"),
        ("14:02:30.0", "13:02:30"),
        ("2026-11-28T13:02:30,000Z", "13:02:30"),
        ("10m ago", "13:20:00.999"),
        ("14:30", "13:30:00.25"),  # no later than now
        ("now", "13:30:00.25"),
    ],
)
def test_who_is_asked_for_at_the_end_of_the_second_that_is_named(text, utc):
    now = NOW.replace(microsecond=250_000)
    assert of_presence(text, now) == datetime.fromisoformat(f"2026-11-28 {utc}+00:00")


def test_a_duration_counts_back_to_a_whole_second():
    assert beginning("1h", NOW.replace(microsecond=250_000)) == datetime(2026, 11, 28, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "60", "h", "1 fortnight"])
def test_what_is_neither_is_told_with_both(text):
    with pytest.raises(BadMoment, match="or a duration such as 1h"):
        beginning(text, NOW)
