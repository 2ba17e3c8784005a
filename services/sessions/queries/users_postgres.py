"""Users: when each was first and last seen, with which devices and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Database, Pool
from services.sessions.queries.periods import Period
from services.sessions.values import identity

MAX_DEVICES: Final = 200

# The latest devices have the latest users: so many are read, newest first, until they are of enough users.
_LATEST: Final = """
SELECT user_id FROM user_devices WHERE last_seen >= $1 AND first_seen < $2 AND user_id <> ''
ORDER BY last_seen DESC, user_id LIMIT $3"""
_DEVICES_OF_A_USER: Final = 4
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
GROUP BY user_id ORDER BY max(last_seen) DESC, user_id"""

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
        """Up to `limit` users who were seen in this period, the latest first. Anonymous clients are nobody."""
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
    """The users whose devices were seen last, of those that were seen in the period."""
    reach = limit * _DEVICES_OF_A_USER
    while True:
        rows = await database.fetch(_LATEST, period.since, period.until, reach)
        users = list(dict.fromkeys(row["user_id"] for row in rows))
        if len(users) >= limit or len(rows) < reach:
            return users[:limit]
        reach *= _MORE
