"""Who was connected at a moment, and in which channels."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from services.chassis.postgres.pool import Database, Pool
from services.sessions.lengths import is_of_the_last, there_at
from services.sessions.queries.channel_presence_postgres import newest_in_channel
from services.sessions.queries.channel_presence_sql import IN_CHANNEL
from services.sessions.queries.places import Place
from services.sessions.queries.reaches import EVER, REACHES, before
from services.sessions.statements import END, PLANNED_FOR_VALUES
from services.sessions.values import identity, text

SHOWN_CHANNELS: Final = 100
"""Channels of one session in an answer, in the order of their names."""

_A_DAY_BEFORE: Final = "$4::timestamptz - '24:00:00'::interval"
"""Rows of a session may seem older than the session, as clocks of edges differ."""


def carrying(columns: str, condition: str) -> str:
    """Finds the connection that carried the session `s` at $1, if this condition holds for it, too."""
    return f"""
        SELECT {columns} FROM connections
        WHERE session_id = s.id AND opened_at >= s.opened_at - '24:00:00'::interval
            AND {condition} AND opened_at <= $1 AND (closed_at IS NULL OR closed_at > $1)
        ORDER BY opened_at DESC, id DESC LIMIT 1"""


_OF_THE_LAST: Final = is_of_the_last("$1")
_CARRYING: Final = carrying(
    "id, edge, instance, client_version, address, opened_at",
    f"{_OF_THE_LAST} IS NOT TRUE AND opened_at > {_A_DAY_BEFORE}",
)

# Without such a connection the session was away. The last connection is not looked up: the session has its values.
_CARRIED: Final = f"""
JOIN LATERAL (
    SELECT s.connection AS id, s.edge, s.instance, s.client_version, s.address,
        COALESCE(s.connected_at, s.opened_at) AS opened_at WHERE {_OF_THE_LAST}
    UNION ALL ({_CARRYING})
) AS c ON $2::text IS NULL OR c.edge = $2"""

_IN_CHANNEL: Final = f"""
WHERE $3::text IS NULL OR EXISTS (
    SELECT FROM subscriptions u WHERE u.connection = c.id AND u.channel = $3 AND u.opened_at = c.opened_at
        AND u.opened_at > {_A_DAY_BEFORE} AND u.opened_at <= $1
        AND u.since <= $1 AND {END} > $1)"""

_FIELDS: Final = "s.id, s.user_id, s.session_key, s.client_name, c.client_version, c.address, s.opened_at, s.ended_at"


_NEWEST: Final = "ORDER BY s.opened_at DESC, s.id DESC LIMIT $5"


def _after(at: str, id_: str) -> str:
    """The condition for sessions `s` after a place, as their indexes need it. Both arguments are SQL expressions."""
    return f"s.opened_at <= {at} AND (s.opened_at, s.id) < ({at}, {id_})"


def _branch(condition: str) -> str:
    return f"""(
SELECT {_FIELDS}, c.id AS connection, c.edge, c.instance, c.opened_at AS connected_at
FROM (SELECT * FROM sessions AS s WHERE opened_at <= $1 AND opened_at > $4 AND {condition}) AS s
{_CARRIED} {_IN_CHANNEL}
{_NEWEST})"""


_CHANNELS: Final = f"""
SELECT p.*, u.channels, u.channel_count
FROM present p CROSS JOIN LATERAL (
    SELECT coalesce((array_agg(channel ORDER BY channel))[:{SHOWN_CHANNELS}], '{{}}') AS channels,
        count(*) AS channel_count
    FROM subscriptions WHERE connection = p.connection AND opened_at = p.connected_at
        AND opened_at > {_A_DAY_BEFORE} AND opened_at <= $1 AND since <= $1 AND {END} > $1
) AS u"""
_IN_ORDER: Final = "ORDER BY p.opened_at DESC, p.id DESC"


def _all(after: str, whose: str = "") -> str:
    branches = " UNION ALL ".join(_branch(condition + whose + after) for condition in there_at("$1"))
    return f"""
WITH present AS (
    SELECT * FROM ({branches}) AS found ORDER BY opened_at DESC, id DESC LIMIT $5)
{_CHANNELS} {_IN_ORDER}"""


def _of_user(after: str) -> str:
    return f"""
WITH present AS {_branch("user_id = $6 AND (ended_at IS NULL OR ended_at > $1)" + after)}
{_CHANNELS} {_IN_ORDER}"""


def _of_channel(after: str) -> str:
    return f"SELECT * FROM ({IN_CHANNEL}) AS s WHERE true {after} ORDER BY since DESC"


_NOBODY: Final = " AND s.user_id = ''"

# Each of these is a pair: for the first page, and for a page after a place, whose values are the last parameters.
_ALL: Final = _all(""), _all(f" AND {_after('$6', '$7')}")
_ANONYMOUS: Final = _all("", _NOBODY), _all(f" AND {_after('$6', '$7')}", _NOBODY)
_OF_USER: Final = _of_user(""), _of_user(f" AND {_after('$7', '$8')}")
_OF_CHANNEL: Final = _of_channel(""), _of_channel(f" AND {_after('$5', '$6')}")

# The channels of these connections, which are given with the times of their opening.
_CHANNELS_OF: Final = f"""
WITH present AS (SELECT * FROM unnest($2::text[], $3::timestamptz[]) AS t(connection, connected_at))
{_CHANNELS}"""


class PresentSession(Struct):
    """A session that was connected: by which connection, since when, from which address, and on which edge; and its
    channels. `ended_at` is None if it is still connected."""

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
        after: Place | None = None,
    ) -> Present:
        """Up to `limit` sessions that were connected at this moment and satisfy all conditions (None: no condition),
        from the place `after` on. The user "" stands for anonymous clients, of which there may be as many as users, of
        all times."""
        name = None if channel is None else text(channel)
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            await database.execute(PLANNED_FOR_VALUES)  # the bounds decide on the plan
            rows: list[Any] | None = None
            if user:
                statement, place = _page(_OF_USER, after)
                rows = await database.fetch(statement, at, edge, name, EVER, limit + 1, identity(user), *place)
            elif name is not None and user is None:
                rows = await _in_channel(database, at, edge, name, limit + 1, after)
            if rows is None:
                statements = _ALL if user is None else _ANONYMOUS
                rows = await _within(database, statements, at, edge, name, limit + 1, after)
        return Present(at, [_present(row) for row in rows[:limit]], len(rows) > limit)


async def _within(
    database: Database,
    statements: tuple[str, str],
    at: datetime,
    edge: str | None,
    channel: str | None,
    limit: int,
    after: Place | None,
) -> list[Any]:
    """The newest `limit` of all sessions that were there, from the place `after` on."""
    statement, place = _page(statements, after)
    latest = at if after is None else min(at, after.at)
    rows: list[Any] = []
    for reach in REACHES:
        rows = await database.fetch(statement, at, edge, channel, before(latest, reach), limit, *place)
        if len(rows) >= limit:
            break
    return rows


async def _in_channel(
    database: Database, at: datetime, edge: str | None, channel: str, limit: int, after: Place | None
) -> list[Any] | None:
    """The same for sessions in this channel, found from its subscriptions; None if there are too many of these."""
    statement, place = _page(_OF_CHANNEL, after)
    found = await newest_in_channel(
        database,
        channel,
        at,
        lambda beginning: (statement, (at, edge, channel, beginning, *place)),
        limit,
        up_to=None if after is None else after.at,
    )
    if not found:
        return found
    names, times = [row["connection"] for row in found], [row["connected_at"] for row in found]
    channels = {row["connection"]: row for row in await database.fetch(_CHANNELS_OF, at, names, times, min(times))}
    return [{**row, **channels[row["connection"]]} for row in found]


def _page(statements: tuple[str, str], after: Place | None) -> tuple[str, tuple[Any, ...]]:
    """The statement for a page, and the values of its last parameters."""
    first, later = statements
    return (first, ()) if after is None else (later, (after.at, after.id))


def _present(row: Any) -> PresentSession:
    return PresentSession(**{"user" if name == "user_id" else name: value for name, value in row.items()})
