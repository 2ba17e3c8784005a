"""Users: when each was first and last seen, with which devices and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from msgspec import Struct

from services.chassis.postgres.pool import Database, Pool
from services.sessions.queries.periods import Period
from services.sessions.values import identity

MAX_DEVICES: Final = 200

# Who came in the period, and who was last seen in it: two lists, newest first, of which so much is read that the latest
# users are in it. A search for those whose first and last times span it would go through all who came later. The first
# row is about what was read, by anonymous clients or anybody; no more than the users that are wanted leave PostgreSQL.
_NEWEST: Final = """
WITH read AS MATERIALIZED (
    SELECT user_id, {time} AS at FROM {table} WHERE {time} >= $1 AND {time} < $2 ORDER BY {time} DESC LIMIT $3
)
SELECT NULL AS user_id, min(at) AS at, count(*) AS read FROM read
UNION ALL (SELECT user_id, max(at), 0 FROM read WHERE user_id <> '' GROUP BY user_id ORDER BY 2 DESC, 1 LIMIT $4)"""
_LEFT: Final = _NEWEST.format(table="user_devices", time="last_seen")
_CAME: Final = _NEWEST.format(table="sessions", time="opened_at")
_ROWS_OF_A_USER: Final = 4
_MORE: Final = 8

# Where few users come often, or most clients are anonymous, the newest sessions have too few users: this goes from user
# to user in the index of users, past all sessions of each.
_EACH: Final = """
WITH RECURSIVE each(user_id, number) AS (
    (SELECT user_id, 1 FROM sessions WHERE user_id > '' AND opened_at >= $1 AND opened_at < $2
        ORDER BY user_id, opened_at LIMIT 1)
    UNION ALL
    SELECT (SELECT s.user_id FROM sessions s WHERE s.user_id > e.user_id AND s.opened_at >= $1 AND s.opened_at < $2
        ORDER BY s.user_id, s.opened_at LIMIT 1), e.number + 1
    FROM each e WHERE e.user_id IS NOT NULL AND e.number < $3
)
SELECT user_id, (SELECT s.opened_at FROM sessions s WHERE s.user_id = e.user_id AND s.opened_at >= $1
    AND s.opened_at < $2 ORDER BY s.opened_at DESC LIMIT 1) AS at
FROM each e WHERE user_id IS NOT NULL"""
_EACH_UP_TO: Final = 1000
"""At most so many users are visited this way, and two more for each that is wanted. Where there are more, the newest
sessions have enough of them."""

_SEEN: Final = """
SELECT user_id AS user, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
    sum(sessions)::bigint AS sessions, sum(connections)::bigint AS connections,
    count(DISTINCT (session_key, client_name)) AS devices, count(DISTINCT (client_name, client_version)) AS versions,
    coalesce(max(open.count), 0) AS connected
FROM user_devices LEFT JOIN (
    SELECT user_id, count(*) FROM sessions WHERE user_id = ANY($1::text[]) AND ended_at IS NULL GROUP BY user_id
) AS open USING (user_id)
WHERE user_id = ANY($1::text[])
GROUP BY user_id"""

_DEVICES: Final = """
SELECT session_key, client_name, client_version, first_seen, last_seen, sessions, connections,
    coalesce(open.count, 0) AS connected
FROM user_devices LEFT JOIN (
    SELECT session_key, client_name, client_version, count(*) FROM sessions
    WHERE user_id = $1 AND ended_at IS NULL GROUP BY session_key, client_name, client_version
) AS open USING (session_key, client_name, client_version)
WHERE user_id = $1 ORDER BY last_seen DESC, session_key, client_name, client_version LIMIT $2"""

_CONNECTED: Final = "SELECT count(*) FROM sessions WHERE user_id = $1 AND ended_at IS NULL"


class SeenUser(Struct):
    """A user over all the time that is known. A device is a session key and a client name. `last_seen` is when the user
    last came or left; `connected`: how many sessions are connected now."""

    user: str
    first_seen: datetime
    last_seen: datetime
    sessions: int
    connections: int
    devices: int
    versions: int
    connected: int


class Device(Struct):
    """What one device of a user did with one version of its client. `connected`: how many of its sessions are now."""

    session_key: str
    client_name: str
    client_version: str
    first_seen: datetime
    last_seen: datetime
    sessions: int
    connections: int
    connected: int


class KnownUser(Struct):
    """Everything about one user: how many sessions are connected, and the devices, the latest seen first."""

    user: str
    connected: int
    devices: list[Device]


class Users:
    """Asks about users."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def seen(self, period: Period, limit: int) -> list[SeenUser]:
        """Up to `limit` users who came in this period or were last seen in it, the latest first. Anonymous clients are
        nobody."""
        async with self._pool.database() as database:
            users = await _latest(database, period, limit)
            found = {row["user"]: SeenUser(**row) for row in await database.fetch(_SEEN, users)}
        return [found[user] for user in users if user in found]

    async def one(self, user: str) -> KnownUser | None:
        """What is known of a user, with at most `MAX_DEVICES` devices; None if nobody of this id ever was here."""
        async with self._pool.database() as database:
            devices = await database.fetch(_DEVICES, identity(user), MAX_DEVICES)
            connected = await database.fetchval(_CONNECTED, identity(user))
        return KnownUser(user, connected, [Device(**row) for row in devices]) if devices else None


class _Latest(NamedTuple):
    """Users by when they came, or were last seen, of all who did after `known_since`."""

    users: dict[str, datetime]
    known_since: datetime


async def _latest(database: Database, period: Period, limit: int) -> list[str]:
    """The users who came or were last seen in the period, the latest first."""
    reach, each = limit * _ROWS_OF_A_USER, None
    while True:
        left = await _newest(database, _LEFT, period, reach, limit)
        came = each or await _newest(database, _CAME, period, reach, limit)
        known_since = max(left.known_since, came.known_since)
        latest = {user: at for user, at in left.users.items() if at >= known_since}
        for user, at in came.users.items():
            if at >= known_since:
                latest[user] = max(at, latest.get(user, at))
        if len(latest) >= limit or known_since == period.since:
            return sorted(latest, key=lambda user: (-latest[user].timestamp(), user))[:limit]
        if each is None and reach > limit * _ROWS_OF_A_USER:
            each = await _each(database, period, 2 * limit + _EACH_UP_TO)
        reach *= _MORE


async def _newest(database: Database, statement: str, period: Period, reach: int, limit: int) -> _Latest:
    """Of the newest `reach` rows of a list, the latest `limit` users."""
    rows = await database.fetch(statement, period.since, period.until, reach, limit)
    (read,) = (row for row in rows if row["user_id"] is None)
    users = {row["user_id"]: row["at"] for row in rows if row["user_id"] is not None}
    return _Latest(users, read["at"] if read["read"] == reach else period.since)


async def _each(database: Database, period: Period, most: int) -> _Latest | None:
    """All users who came in the period; None if they are `most`, or more."""
    rows = await database.fetch(_EACH, period.since, period.until, most)
    return _Latest({row["user_id"]: row["at"] for row in rows}, period.since) if len(rows) < most else None
