"""Users: when each was first and last seen, with which devices and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Database, Pool
from services.sessions.queries.periods import Period
from services.sessions.values import identity

MAX_DEVICES: Final = 200

# Who came in the period, and who was last seen in it: two lists, newest first, of which so much is read that the latest
# users are in it. A search for those whose first and last times span it would go through all who came later.
_LEFT: Final = """
SELECT user_id, last_seen FROM user_devices WHERE last_seen >= $1 AND last_seen < $2 AND user_id <> ''
ORDER BY last_seen DESC LIMIT $3"""
_CAME: Final = """
SELECT user_id, opened_at FROM sessions WHERE opened_at >= $1 AND opened_at < $2 AND user_id <> ''
ORDER BY opened_at DESC LIMIT $3"""
_SESSIONS_OF_A_USER: Final = 4
_MORE: Final = 8

_SEEN: Final = """
SELECT user_id AS user, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
    sum(sessions)::bigint AS sessions, sum(connections)::bigint AS connections,
    count(DISTINCT (session_key, client_name)) AS devices, count(DISTINCT (client_name, client_version)) AS versions,
    coalesce(max(open.count), 0) AS connected
FROM user_devices LEFT JOIN (
    SELECT user_id, count(*) FROM sessions WHERE user_id = ANY($1::text[]) AND ended_at IS NULL GROUP BY user_id
) AS open USING (user_id)
WHERE user_id = ANY($1::text[])
GROUP BY user_id ORDER BY array_position($1, user_id)"""

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
            rows = await database.fetch(_SEEN, users)
        return [SeenUser(**row) for row in rows]

    async def one(self, user: str) -> KnownUser | None:
        """What is known of a user, with at most `MAX_DEVICES` devices; None if nobody of this id ever was here."""
        async with self._pool.database() as database:
            devices = await database.fetch(_DEVICES, identity(user), MAX_DEVICES)
            connected = await database.fetchval(_CONNECTED, identity(user))
        return KnownUser(user, connected, [Device(**row) for row in devices]) if devices else None


async def _latest(database: Database, period: Period, limit: int) -> list[str]:
    """The users who came or were last seen in the period, the latest first."""
    reach = limit * _SESSIONS_OF_A_USER
    while True:
        latest = dict[str, datetime]()
        known_since = period.since
        for statement in (_LEFT, _CAME):
            rows = await database.fetch(statement, period.since, period.until, reach)
            for user, at in rows:
                latest[user] = max(at, latest.get(user, at))
            if len(rows) == reach:  # there may be others before it
                known_since = max(known_since, rows[-1][1])
        users = sorted(
            (user for user, at in latest.items() if at >= known_since),
            key=lambda user: (-latest[user].timestamp(), user),
        )
        if len(users) >= limit or known_since == period.since:
            return users[:limit]
        reach *= _MORE
