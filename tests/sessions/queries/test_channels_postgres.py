"""Peaks and curves of channels, also of those in which nothing changed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries.channels_postgres import Channels
from services.sessions.queries.periods import Period
from services.sessions.queries.subscribed_channels_postgres import SubscribedChannels
from services.sessions.rows import HOUR_MS, Channel, ChannelHour
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

START = 1000 * HOUR_MS


def hour(number: int) -> int:
    return START + number * HOUR_MS


PERIOD = Period(EPOCH + timedelta(milliseconds=hour(0)), EPOCH + timedelta(milliseconds=hour(5)))


async def test_a_channel_in_which_nothing_changes_keeps_its_level_and_its_place_among_the_peaks(postgres: Postgres):
    await insert(
        postgres.url,
        Channel("quiet", 50, 60, hour(-9), 70, hour(-9), hour(-2)),
        ChannelHour("quiet", hour(-2), 55, 50, 1),
        Channel("busy", 3, 40, hour(2) + 5, 99, hour(-1), hour(3)),
        ChannelHour("busy", hour(-1), 30, 10, 30),
        ChannelHour("busy", hour(2), 40, 20, 40),
        ChannelHour("busy", hour(3), 20, 3, 2),
        Channel("small", 0, 500, hour(-20), 7, hour(-20), hour(1)),
        ChannelHour("small", hour(1), 1, 0, 1),
    )
    async with Pool(postgres.url, 1) as pool:
        channels = Channels(pool)
        period, peaks = await channels.peaks(PERIOD, 2)
        busy = await channels.curve("busy", PERIOD)
        quiet = await channels.curve("quiet", PERIOD)
        now = await SubscribedChannels(pool).page(10)
        assert await channels.curve("none", PERIOD) is None
        with pytest.raises(ValueError, match="at most 31 days"):
            await channels.peaks(Period(PERIOD.since - timedelta(days=40), PERIOD.until), 1)
    assert period == PERIOD
    assert [(one.channel, one.peak, one.subscriptions) for one in peaks] == [("quiet", 50, 0), ("busy", 40, 42)]
    assert peaks[0].peak_at is None and peaks[0].peak_hour is None
    assert peaks[1].peak_at == EPOCH + timedelta(milliseconds=hour(2) + 5)
    assert busy is not None and [one.peak for one in busy.hours] == [10, 10, 40, 20, 3]
    assert quiet is not None and [one.peak for one in quiet.hours] == [50] * 5
    assert [one.channel for one in now] == ["quiet", "busy", "small"]


@pytest.mark.parametrize(
    ("since", "until", "peak", "subscriptions"),
    [
        (23, 50, 6, 1 + 2 + 4 + 8 + 16),  # a whole day, with an hour before it and two after it
        (24, 48, 5, 2 + 4),
        (23, 24, 3, 1),
        (24, 47, 4, 2),
        (48, 48, 6, 8),
    ],
)
async def test_peaks_and_subscriptions_are_those_of_the_hours_of_the_period(
    postgres: Postgres, since: int, until: int, peak: int, subscriptions: int
):
    day = START - START % (24 * HOUR_MS)
    peaks_and_counts = {22: (99, 1000), 23: (3, 1), 24: (4, 2), 47: (5, 4), 48: (6, 8), 49: (2, 16), 50: (98, 2000)}
    await insert(
        postgres.url,
        Channel("busy", 1, 99, day + 22 * HOUR_MS, 3031, day + 22 * HOUR_MS, day + 50 * HOUR_MS),
        *(ChannelHour("busy", day + at * HOUR_MS, peak, 1, count) for at, (peak, count) in peaks_and_counts.items()),
    )
    begin = EPOCH + timedelta(milliseconds=day)
    async with Pool(postgres.url, 1) as pool:
        _, found = await Channels(pool).peaks(Period(begin + timedelta(hours=since), begin + timedelta(hours=until)), 5)
    assert [(one.peak, one.subscriptions) for one in found] == [(peak, subscriptions)]


async def test_a_channel_that_was_steady_then_and_changed_later_is_among_the_peaks_of_then(postgres: Postgres):
    await insert(
        postgres.url,
        Channel("steady", 4, 60, hour(-9), 70, hour(-9), hour(30)),
        ChannelHour("steady", hour(-9), 60, 55, 60),
        ChannelHour("steady", hour(-2), 55, 50, 1),
        ChannelHour("steady", hour(30), 50, 4, 1),
        Channel("empty-then", 4, 70, hour(-9), 70, hour(-9), hour(30)),
        ChannelHour("empty-then", hour(-9), 70, 0, 70),
        ChannelHour("empty-then", hour(30), 4, 4, 4),
        Channel("long-steady", 4, 60, hour(-400), 70, hour(-400), hour(30)),
        ChannelHour("long-steady", hour(-401), 60, 50, 60),
        ChannelHour("long-steady", hour(-400), 52, 45, 1),
        ChannelHour("long-steady", hour(30), 45, 4, 1),
        Channel("later", 80, 80, hour(30), 80, hour(30), hour(30)),
        ChannelHour("later", hour(30), 80, 80, 80),
        Channel("busy", 3, 40, hour(2), 99, hour(2), hour(31)),
        ChannelHour("busy", hour(2), 40, 20, 40),
        ChannelHour("busy", hour(31), 40, 3, 1),
    )
    async with Pool(postgres.url, 1) as pool:
        channels = Channels(pool)
        _, peaks = await channels.peaks(PERIOD, 10)
        _, highest = await channels.peaks(PERIOD, 1)
        curve = await channels.curve("steady", PERIOD)
    assert [(one.channel, one.peak) for one in peaks] == [("steady", 50), ("long-steady", 45), ("busy", 40)]
    assert [one.channel for one in highest] == ["steady"]
    assert curve is not None and [one.peak for one in curve.hours] == [50] * 5


async def test_peaks_are_those_of_whole_hours_which_the_answer_names(postgres: Postgres):
    minute = 60_000
    await insert(
        postgres.url,
        Channel("lobby", 4, 6, hour(1) + 41 * minute, 9, hour(0), hour(2)),
        ChannelHour("lobby", hour(0), 3, 3, 3),
        ChannelHour("lobby", hour(1), 6, 4, 5),
        ChannelHour("lobby", hour(2), 4, 4, 1),
    )

    def period(first: int, last: int) -> Period:
        """From and to a minute of the three hours."""
        return Period(*(EPOCH + timedelta(milliseconds=START + each * minute) for each in (first, last)))

    async with Pool(postgres.url, 1) as pool:
        channels = Channels(pool)
        covered, (lobby,) = await channels.peaks(period(60 + 50, 60 + 55), 5)
        assert (covered, lobby.peak, lobby.subscriptions) == (period(60, 120), 6, 5)
        assert lobby.peak_at is not None and covered.since <= lobby.peak_at < covered.until
        covered, (lobby,) = await channels.peaks(period(10, 50), 5)
        assert (covered, lobby.peak, lobby.peak_at) == (period(0, 60), 3, None), "the peak of all time is not of it"
        assert lobby.peak_hour == covered.since
        curve = await channels.curve("lobby", period(50, 70))
        assert curve is not None and curve.period == period(0, 120) and [one.peak for one in curve.hours] == [3, 6]
        month = period(30, 30 + 31 * 24 * 60)
        assert (await channels.peaks(month, 5)).channels
