"""The SQL that finds who was in a channel at a moment, from the channel's subscriptions. Pure."""

from __future__ import annotations

from typing import Final

from services.sessions.lengths import is_of_the_last

_COLUMNS: Final = """c.id AS connection, c.edge, c.instance, c.client_version, c.address,
    c.opened_at AS connected_at, c.since, s.id, s.user_id, s.session_key, s.client_name, s.opened_at, s.ended_at"""


def present_in_channel(at: str, edge: str, channel: str, after: str, columns: str = _COLUMNS) -> str:
    """Finds the sessions `s` that were in the channel at the time `at`, each with the connection `c` that carried it,
    on this edge (NULL: any), and that were opened after `after`. All arguments are SQL expressions.

    Sessions are looked up one by one from the channel's index, which has the connections: PostgreSQL guesses wrong how
    to join tables of millions. The index also has the ends of subscriptions: of a connection that was in the channel
    several times, at most one subscription is looked up. Most clients that subscribed more than an hour before `at` are
    gone. The others have connections that lasted longer than an hour; an index has these in the order of time, like the
    subscriptions, so that few of its pages are read, and no rows of clients that are gone.

    A session began with the connection of the same id. If connections of a session overlap, its last one carries it:
    the session's row names this connection, and since when it carries the session. Before that, the connection that was
    opened last carries it. A connection on an edge whose clock is behind may seem older than its session.

    Rows come by `c.since`, the latest subscription first, and are looked up one after the other: a reader that stops
    after a few does not pay for the rest. This needs an `ORDER BY since DESC` around the statement.
    """
    hour_before = f"{at}::timestamptz - '01:00:00'::interval"
    since = f"{after}::timestamptz - '00:00:10'::interval"
    open_then = f"(closed_at IS NULL OR closed_at > {at})"
    still_subscribed = f"(until IS NULL OR until > {at})"
    of_the_last_hour = f"""(
SELECT c.*, u.since FROM (
    SELECT connection, opened_at, since FROM subscriptions
    WHERE channel = {channel} AND since > GREATEST({since}, {hour_before}) AND since <= {at}
        AND opened_at > {since} AND opened_at <= {at} AND {still_subscribed}
    ORDER BY since DESC OFFSET 0
) AS u CROSS JOIN LATERAL (
    SELECT * FROM connections
    WHERE id = u.connection AND opened_at = u.opened_at AND opened_at > {since} AND opened_at <= {at} AND {open_then}
    OFFSET 0
) AS c)"""
    of_earlier = f"""(
SELECT c.*, u.since FROM (
    SELECT connection, opened_at, since FROM subscriptions
    WHERE channel = {channel} AND since > {since} AND since <= {hour_before}
        AND opened_at > {since} AND opened_at <= {hour_before} AND {still_subscribed}
    ORDER BY since DESC OFFSET 0
) AS u CROSS JOIN LATERAL (
    SELECT id, opened_at FROM connections
    WHERE opened_at = u.opened_at AND id = u.connection AND opened_at > {since} AND opened_at <= {hour_before}
        AND (closed_at IS NULL OR closed_at - opened_at > '01:00:00'::interval) AND {open_then}
    OFFSET 0
) AS lasting CROSS JOIN LATERAL (
    SELECT * FROM connections WHERE id = lasting.id AND opened_at = lasting.opened_at OFFSET 0
) AS c)"""
    return " UNION ALL ".join(
        f"""(
SELECT {columns}
FROM {found} AS c CROSS JOIN LATERAL (
    SELECT * FROM sessions
    WHERE id = c.session_id AND opened_at <= c.opened_at + '24:00:00'::interval AND opened_at > {after}
        AND opened_at >= CASE WHEN c.id = c.session_id THEN c.opened_at ELSE '-infinity' END
    OFFSET 0
) AS s
WHERE ({edge}::text IS NULL OR c.edge = {edge}) AND CASE WHEN {is_of_the_last(at)} THEN s.connection = c.id
    ELSE NOT EXISTS (
        SELECT FROM connections WHERE session_id = c.session_id AND opened_at >= c.opened_at AND opened_at <= {at}
            AND {open_then} AND (opened_at, id) > (c.opened_at, c.id) OFFSET 0) END
ORDER BY c.since DESC)"""
        for found in (of_the_last_hour, of_earlier)
    )


IN_CHANNEL: Final = present_in_channel("$1", "$2", "$3", "$4")
"""The same with the parameters $1 to $4."""
