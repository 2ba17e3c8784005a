"""Peaks and curves of channels, also of those in which nothing changed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries.channels_postgres import Channels
from services.sessions.queries.periods import Period
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
        peaks = await channels.peaks(PERIOD, 2)
        busy = await channels.curve("busy", PERIOD)
        quiet = await channels.curve("quiet", PERIOD)
        now = await channels.now(10)
        assert await channels.curve("none", PERIOD) is None
        with pytest.raises(ValueError, match="at most 31 days"):
            await channels.peaks(Period(PERIOD.since - timedelta(days=40), PERIOD.until), 1)
    assert [(one.channel, one.peak, one.subscriptions) for one in peaks] == [("quiet", 50, 0), ("busy", 40, 42)]
    assert peaks[0].peak_at is None and peaks[0].peak_hour is None
    assert peaks[1].peak_at == EPOCH + timedelta(milliseconds=hour(2) + 5)
    assert busy is not None and [one.peak for one in busy.hours] == [10, 10, 40, 20, 3]
    assert quiet is not None and [one.peak for one in quiet.hours] == [50] * 5
    assert [one.channel for one in now] == ["quiet", "busy", "small"]
