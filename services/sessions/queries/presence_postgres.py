"""Who was connected at a moment, and in which channels."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from services.chassis.postgres.pool import Pool
from services.sessions.values import identity, text

SHOWN_CHANNELS: Final = 100
"""Channels of one session in an answer, in the order of their names."""

# A session that was there lasted less than an hour, and began in the hour before; or less than a day, and began in the
# day before; or longer; or it is there still. Each has an index of its own, so that no history is read.
_LASTED: Final = (
    "ended_at - opened_at <= '01:00:00'::interval AND opened_at > $1::timestamptz - '01:00:00'::interval "
    "AND ended_at > $1",
    "ended_at - opened_at > '01:00:00'::interval AND ended_at - opened_at <= '1 day'::interval "
    "AND opened_at > $1::timestamptz - '1 day'::interval AND ended_at > $1",
    "ended_at - opened_at > '1 day'::interval AND ended_at > $1",
    "ended_at IS NULL",
)

# The connection that carried a session then. Without one the session was away.
_CARRIED: Final = """
JOIN LATERAL (
    SELECT id, edge, instance, client_version, opened_at FROM connections
    WHERE session_id = s.id AND opened_at >= s.opened_at AND opened_at <= $1 AND (closed_at IS NULL OR closed_at > $1)
    ORDER BY opened_at DESC LIMIT 1
) AS c ON $2::text IS NULL OR c.edge = $2"""

_IN_CHANNEL: Final = """
WHERE $3::text IS NULL OR EXISTS (
    SELECT FROM subscriptions u WHERE u.connection = c.id AND u.channel = $3 AND u.opened_at = c.opened_at
        AND u.since <= $1 AND (u.until IS NULL OR u.until > $1))"""

_FIELDS: Final = "s.id, s.user_id, s.session_key, s.client_name, c.client_version, s.address, s.opened_at, s.ended_at"


_NEWEST: Final = "ORDER BY s.opened_at DESC, s.id DESC LIMIT $4"


def _branch(condition: str, which: str = _NEWEST) -> str:
    return f"""(
SELECT {_FIELDS}, c.id AS connection, c.edge, c.instance, c.opened_at AS connected_at
FROM (SELECT * FROM sessions WHERE opened_at <= $1 AND {condition}) AS s {_CARRIED} {_IN_CHANNEL}
{which})"""


_CHANNELS: Final = f"""
SELECT p.*, u.channels, u.channel_count
FROM present p CROSS JOIN LATERAL (
    SELECT coalesce((array_agg(channel ORDER BY channel))[:{SHOWN_CHANNELS}], '{{}}') AS channels,
        count(*) AS channel_count
    FROM subscriptions WHERE connection = p.connection AND opened_at = p.connected_at AND since <= $1
        AND (until IS NULL OR until > $1)
) AS u ORDER BY p.opened_at DESC, p.id DESC"""

_ALL: Final = f"""
WITH present AS (
    SELECT * FROM ({" UNION ALL ".join(map(_branch, _LASTED))}) AS found ORDER BY opened_at DESC, id DESC LIMIT $4)
{_CHANNELS}"""

_OF_USER: Final = f"""
WITH present AS {_branch("user_id = $5 AND (ended_at IS NULL OR ended_at > $1)")}
{_CHANNELS}"""

PresentBy = Literal["user", "address", "version", "edge"]
_COLUMNS: Final[dict[str, str]] = {
    "user": "user_id",
    "address": "address",
    "version": "client_name, client_version",
    "edge": "edge",
}
MAX_GROUPS: Final = 200

_COUNTS: Final = f"""
SELECT {{columns}}, count(*) AS count, sum(count(*)) OVER ()::bigint AS total
FROM ({" UNION ALL ".join(_branch(condition, "") for condition in _LASTED)}) AS present
GROUP BY {{columns}} ORDER BY count(*) DESC, {{columns}} LIMIT {MAX_GROUPS}"""


class PresentSession(Struct):
    """A session that was connected: by which connection since when, on which edge; and where it was subscribed.

    `address` is that of its last connection. Of a channel to which a connection has subscribed
    several times only the last time is known. `ended_at` is None if it is still there.
    """

    id: str
    user: str
    session_key: str
    client_name: str
    client_version: str
    address: str
    edge: str
    instance: str
    connection: str
    connected_at: datetime
    opened_at: datetime
    ended_at: datetime | None
    channels: list[str]
    channel_count: int


class Present(Struct):
    """Who was connected at `at`, newest sessions first. `more`: there were others, beyond the limit."""

    at: datetime
    sessions: list[PresentSession]
    more: bool


class PresentCount(Struct):
    """The sessions that have in common what they were counted by."""

    count: int
    user: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    client_name: str | UnsetType = UNSET
    client_version: str | UnsetType = UNSET
    edge: str | UnsetType = UNSET


class PresentCounts(Struct):
    """How many were connected at `at`: all, and the greatest groups of them."""

    at: datetime
    by: PresentBy
    total: int
    groups: list[PresentCount]


class Presence:
    """Asks who was there."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def at(
        self,
        at: datetime,
        limit: int,
        *,
        user: str | None = None,
        channel: str | None = None,
        edge: str | None = None,
    ) -> Present:
        """Up to `limit` sessions that were connected at this moment and satisfy all conditions (None: no condition)."""
        in_channel = None if channel is None else text(channel)
        values = [at, edge, in_channel, limit + 1]
        async with self._pool.database() as database:
            if user is None:
                rows = await database.fetch(_ALL, *values)
            else:
                rows = await database.fetch(_OF_USER, *values, identity(user))
        return Present(at, [PresentSession(**_named(row.items())) for row in rows[:limit]], len(rows) > limit)

    async def counts(
        self, at: datetime, by: PresentBy, *, channel: str | None = None, edge: str | None = None
    ) -> PresentCounts:
        """How many were connected at this moment and satisfy the conditions: reads all of them. At most `MAX_GROUPS`
        groups."""
        in_channel = None if channel is None else text(channel)
        async with self._pool.database() as database:
            rows = await database.fetch(_COUNTS.format(columns=_COLUMNS[by]), at, edge, in_channel)
        groups = [PresentCount(**_named(item for item in row.items() if item[0] != "total")) for row in rows]
        return PresentCounts(at, by, rows[0]["total"] if rows else 0, groups)


def _named(row: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The columns by the names that structs have for them."""
    return {"user" if name == "user_id" else name: value for name, value in row}
