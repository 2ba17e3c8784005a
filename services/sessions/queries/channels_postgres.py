"""Channels: their peaks, and the curve of one of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from msgspec import Struct

from services.chassis.postgres.pool import Pool
from services.sessions.queries.periods import DAY_S, FIRST_DAY, HOUR_S, Period, floor
from services.sessions.statements import PLANNED_FOR_VALUES
from services.sessions.values import text

_HOUR: Final = timedelta(hours=1)
MAX_HOURS: Final = 31 * 24
"""A curve, and a search for peaks, goes back no further."""

# The greatest peaks of a period are among the greatest of each of its whole days, and of each hour before and after
# these days. A channel that did not change in the period is in none of them: during the whole period it had as many
# subscribers as at the end of the last hour in which it changed. If it has not changed since then either, it has that
# many now. If it has ($8: the period is over), it is looked for among the channels with the highest peaks of all time,
# as its level is never higher than its peak. Of both kinds, only channels are read that may have more than the last of
# the changed ones. Most of them changed in the day before the period (from $9 on): older rows are in many partitions.
# Subscriptions are summed over the whole days ($5 to $6) and the hours before and after them.
_OF_ALL_TIME: Final = 10
_DAY: Final = timedelta(days=1)
_PEAKS: Final = f"""
WITH changed AS (
    SELECT h.channel, h.hour, h.peak FROM unnest($2::timestamptz[]) AS t(hour) CROSS JOIN LATERAL (
        SELECT channel, hour, peak FROM channel_hours WHERE hour = t.hour ORDER BY peak DESC LIMIT $3) AS h
    UNION ALL
    SELECT d.channel, d.peak_hour, d.peak FROM unnest($4::timestamptz[]) AS t(day) CROSS JOIN LATERAL (
        SELECT channel, peak_hour, peak FROM channel_days WHERE day = t.day ORDER BY peak DESC LIMIT $3) AS d
), highest_changed AS MATERIALIZED (
    SELECT * FROM (SELECT DISTINCT ON (channel) channel, hour, peak FROM changed ORDER BY channel, peak DESC, hour) AS c
    ORDER BY peak DESC, channel LIMIT $3
), least(peak) AS MATERIALIZED (
    SELECT COALESCE((SELECT peak FROM highest_changed ORDER BY peak DESC OFFSET $3 - 1 LIMIT 1), 1)
), highest AS (
    SELECT * FROM highest_changed
    UNION ALL
    SELECT name, NULL, subscribers FROM (
        SELECT name, subscribers FROM channels WHERE last_at < $1 AND subscribers >= (SELECT peak FROM least)
        ORDER BY subscribers DESC, name DESC LIMIT $3) AS quiet
    UNION ALL
    SELECT name, NULL, level.last FROM (
        SELECT name FROM channels
        WHERE $8 AND first_at < $1 AND last_at >= $7 AND peak >= (SELECT peak FROM least)
        ORDER BY peak DESC, name DESC LIMIT $3 * {_OF_ALL_TIME}
    ) AS steady CROSS JOIN LATERAL (SELECT COALESCE(
        (SELECT last FROM channel_hours WHERE channel = name AND hour >= $9 AND hour < $1 ORDER BY hour DESC LIMIT 1),
        (SELECT last FROM channel_hours WHERE channel = name AND hour < $9 ORDER BY hour DESC LIMIT 1)
    ) AS last OFFSET 0) AS level
    WHERE level.last >= (SELECT peak FROM least)
        AND NOT EXISTS (SELECT FROM channel_hours WHERE channel = name AND hour >= $1 AND hour < $7)
)
SELECT c.name AS channel, c.subscribers, h.peak, h.hour AS peak_hour,
    CASE WHEN c.peak = h.peak AND c.peak_at >= $1 AND c.peak_at < $7 THEN c.peak_at END AS peak_at,
    (SELECT coalesce(sum(subscriptions), 0)::bigint FROM (
        SELECT subscriptions FROM channel_hours WHERE channel = c.name AND hour >= $1 AND hour < $5
        UNION ALL SELECT subscriptions FROM channel_days WHERE channel = c.name AND day >= $5 AND day < $6
        UNION ALL SELECT subscriptions FROM channel_hours WHERE channel = c.name AND hour >= $6 AND hour < $7
    ) AS counted) AS subscriptions
FROM (SELECT * FROM highest ORDER BY peak DESC, channel LIMIT $3) AS h JOIN channels c ON c.name = h.channel
ORDER BY h.peak DESC, c.name"""


_ONE: Final = """
SELECT name AS channel, subscribers, peak, peak_at, NULL::timestamptz AS peak_hour, subscriptions FROM channels
WHERE name = $1"""
_HOURS: Final = """
SELECT hour AS at, peak, last, subscriptions FROM channel_hours WHERE channel = $1 AND hour >= $2 AND hour < $3
ORDER BY hour"""
_BEFORE: Final = "SELECT last FROM channel_hours WHERE channel = $1 AND hour < $2 ORDER BY hour DESC LIMIT 1"


class ChannelUse(Struct):
    """A channel: its subscribers now, its peak, and the number of subscriptions, of all time or of a period.

    `peak_at` is the moment of the peak. For a period it may be known only to the hour: `peak_hour` is then the
    beginning of that hour. Both are None if the channel had that many subscribers before the period, and throughout.
    """

    channel: str
    subscribers: int
    peak: int
    peak_at: datetime | None
    peak_hour: datetime | None
    subscriptions: int


class ChannelHour(Struct):
    """An hour, or a day: the peak, the subscribers at its end, and the number of subscriptions."""

    at: datetime
    peak: int
    last: int
    subscriptions: int


class ChannelCurve(Struct):
    """A channel over a period: each hour of it, including those in which nothing changed."""

    use: ChannelUse
    period: Period
    hours: list[ChannelHour]


class ChannelPeaks(NamedTuple):
    """Channels by their peaks in a period."""

    period: Period
    channels: list[ChannelUse]


class Channels:
    """Asks about channels. Peaks are kept by the hour, so periods are rounded to whole hours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def peaks(self, period: Period, limit: int) -> ChannelPeaks:
        """The `limit` channels with the highest peaks in this period, the highest first. Raises ValueError if it is
        longer than `MAX_HOURS`."""
        period = _whole_hours(period)
        days, hours = _days(_hours(period))
        end = period.until
        is_over = end <= datetime.now(UTC)
        stretch = (days[0], days[-1] + timedelta(days=1)) if days else (end, end)
        day_before = period.since - min(_DAY, period.since - FIRST_DAY)
        async with self._pool.database() as database, database.transaction(readonly=True):
            # A plan for any period and any number of hours takes five times as long.
            await database.execute(PLANNED_FOR_VALUES)
            rows = await database.fetch(_PEAKS, period.since, hours, limit, days, *stretch, end, is_over, day_before)
        return ChannelPeaks(period, [ChannelUse(**row) for row in rows])

    async def curve(self, channel: str, period: Period) -> ChannelCurve | None:
        """One channel over this period; None if nobody ever subscribed. Raises ValueError as `peaks` does."""
        period, name = _whole_hours(period), text(channel)
        hours = _hours(period)
        async with self._pool.database() as database:
            row = await database.fetchrow(_ONE, name)
            if row is None:
                return None
            changed = await database.fetch(_HOURS, name, period.since, period.until)
            before = await database.fetchval(_BEFORE, name, period.since)
        known = {one["at"]: ChannelHour(**one) for one in changed}
        return ChannelCurve(ChannelUse(**row), period, carried(hours, known, before or 0))


def carried(hours: list[datetime], known: dict[datetime, ChannelHour], level: int) -> list[ChannelHour]:
    """All hours. In an hour in which nothing changed there were as many as at the end of the one before; `level` before
    the first."""
    made = []
    for hour in hours:
        made.append(known.get(hour) or ChannelHour(hour, level, level, 0))
        level = made[-1].last
    return made


def _whole_hours(period: Period) -> Period:
    """The period rounded to whole hours, at least one."""
    rounded = period.rounded(HOUR_S)
    if rounded.until - rounded.since > (MAX_HOURS + 1) * _HOUR:  # a period of the longest length touches one hour more
        raise ValueError(f"expected a period of at most {MAX_HOURS // 24} days")
    return Period(rounded.since, max(rounded.until, rounded.since + _HOUR))


def _hours(period: Period) -> list[datetime]:
    """Where the hours of a period of whole hours begin."""
    return [period.since + number * _HOUR for number in range((period.until - period.since) // _HOUR)]


def _days(hours: list[datetime]) -> tuple[list[datetime], list[datetime]]:
    """The days of which all hours are there, and the hours of all other days."""
    by_day: dict[datetime, list[datetime]] = {}
    for hour in hours:
        by_day.setdefault(floor(hour, DAY_S), []).append(hour)
    whole = [day for day, of_day in by_day.items() if len(of_day) == DAY_S // HOUR_S]
    return whole, [hour for day, of_day in by_day.items() if day not in whole for hour in of_day]
