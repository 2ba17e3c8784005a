"""Who was in a channel at a moment: found from the channel's subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from services.chassis.postgres.pool import Database
from services.sessions.queries.channel_subscriptions_postgres import MANY, before_the_newest
from services.sessions.queries.reaches import EVER

_FOR_EACH: Final = (4, 32)
"""Subscriptions that are looked up for each session that is wanted, at first and then."""

_WORTH_MORE: Final = 2
"""If the newest subscriptions had less than this part of the sessions that are wanted, a few more will not do: of older
ones fewer are still there."""

_COLUMNS: Final = """c.id AS connection, c.edge, c.instance, c.client_version, c.opened_at AS connected_at, s.id,
    s.user_id, s.session_key, s.client_name, s.address, s.opened_at, s.ended_at"""


def present_in_channel(at: str, edge: str, channel: str, after: str, columns: str = _COLUMNS) -> str:
    """Finds the sessions `s`, each with the connection `c` that carried it, that were in the channel at the time `at`,
    on this edge (NULL: any), and were opened after `after`. All are SQL of values.

    They are looked up one by one from the channel's index, which has the connections: PostgreSQL guesses wrong how to
    join tables of millions. Most who subscribed more than an hour before are gone. Those who are not have connections
    that lasted longer, which an index has, in the order of time as the subscriptions: few of its pages are read, and
    nothing of the others.

    The session of a connection that bears its name began with it. Of connections that overlap the last one carries it.
    An edge whose clock is behind may have a connection of a session before its beginning.
    """
    hour_before = f"{at}::timestamptz - '01:00:00'::interval"
    since = f"{after}::timestamptz - '00:00:10'::interval"
    open_then = f"(closed_at IS NULL OR closed_at > {at})"
    still_subscribed = f"(until IS NULL OR until > {at})"
    of_the_last_hour = f"""(
SELECT c.* FROM (
    SELECT connection, opened_at FROM subscriptions
    WHERE channel = {channel} AND since > GREATEST({since}, {hour_before}) AND since <= {at}
        AND opened_at > {since} AND opened_at <= {at} AND {still_subscribed}
) AS u CROSS JOIN LATERAL (
    SELECT * FROM connections
    WHERE id = u.connection AND opened_at = u.opened_at AND opened_at > {since} AND opened_at <= {at} AND {open_then}
    OFFSET 0
) AS c)"""
    of_earlier = f"""(
SELECT c.* FROM (
    SELECT connection, opened_at FROM subscriptions
    WHERE channel = {channel} AND since > {since} AND since <= {hour_before}
        AND opened_at > {since} AND opened_at <= {hour_before}
) AS u CROSS JOIN LATERAL (
    SELECT id, opened_at FROM connections
    WHERE opened_at = u.opened_at AND id = u.connection AND opened_at > {since} AND opened_at <= {hour_before}
        AND (closed_at IS NULL OR closed_at - opened_at > '01:00:00'::interval) AND {open_then}
    OFFSET 0
) AS lasting CROSS JOIN LATERAL (
    SELECT * FROM connections WHERE id = lasting.id AND opened_at = lasting.opened_at OFFSET 0
) AS c
WHERE EXISTS (
    SELECT FROM subscriptions WHERE connection = c.id AND channel = {channel} AND opened_at = c.opened_at
        AND since <= {at} AND {still_subscribed} OFFSET 0))"""
    return " UNION ALL ".join(
        f"""
SELECT {columns}
FROM {found} AS c CROSS JOIN LATERAL (
    SELECT * FROM sessions
    WHERE id = c.session_id AND opened_at <= c.opened_at + '24:00:00'::interval AND opened_at > {after}
        AND opened_at >= CASE WHEN c.id = c.session_id THEN c.opened_at ELSE '-infinity' END
    OFFSET 0
) AS s
WHERE ({edge}::text IS NULL OR c.edge = {edge}) AND (s.connections = 1 OR NOT EXISTS (
    SELECT FROM connections WHERE session_id = c.session_id AND opened_at >= c.opened_at AND opened_at <= {at}
        AND {open_then} AND (opened_at, id) > (c.opened_at, c.id) OFFSET 0))"""
        for found in (of_the_last_hour, of_earlier)
    )


IN_CHANNEL: Final = present_in_channel("$1", "$2", "$3", "$4")


async def in_channel(
    database: Database, statement: str, at: datetime, edge: str | None, channel: str, limit: int
) -> list[Any] | None:
    """The newest `limit` rows of the statement, whose last parameter is the limit, and the others those of
    `IN_CHANNEL`. None if the channel has too many subscriptions to look for them this way."""
    few_more = True
    for number in (*(each * limit for each in _FOR_EACH if each * limit < MANY), MANY):
        if number < MANY and not few_more:
            continue
        after = await before_the_newest(database, channel, number, at)
        rows: list[Any] = await database.fetch(statement, at, edge, channel, after, limit)
        if len(rows) >= limit or after == EVER:
            return rows
        few_more = len(rows) * _WORTH_MORE >= limit
    return None
