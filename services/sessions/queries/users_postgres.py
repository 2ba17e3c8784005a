"""Users: when each was first and last seen, with which devices and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from msgspec import Struct

from services.chassis.postgres.pool import Database, Pool
from services.sessions.lengths import there_at
from services.sessions.queries.periods import LAST_DAY, Period
from services.sessions.queries.places import UserPlace
from services.sessions.values import identity

MAX_DEVICES: Final = 200

_ROWS_OF_A_USER: Final = 4
_MORE: Final = 8
"""For each wanted user, this many of the newest sessions are read, and then this many times as many."""

# A user's time is the beginning of the newest of their sessions in the period. The newest sessions are read, from the
# place where the last page ended; a user with a newer session was on an earlier page. This is checked for the users in
# their order, until there are enough. The first row is about all sessions that were read, including those of anonymous
# clients.
_NEWEST: Final = """
WITH read AS MATERIALIZED ({read} ORDER BY at DESC LIMIT $3)
SELECT NULL AS user_id, min(at) AS at, count(*) AS read FROM read
UNION ALL (
    SELECT user_id, at, 0 FROM (
        SELECT user_id, max(at) AS at FROM read WHERE user_id <> '' GROUP BY user_id
        ORDER BY at DESC, user_id DESC OFFSET 0
    ) AS latest
    WHERE (at, user_id) < ($5, $6) {who_has_none_newer}
    ORDER BY at DESC, user_id DESC LIMIT $4)"""
_HAS_NONE: Final = """AND NOT EXISTS (
        SELECT FROM sessions AS s WHERE s.user_id = latest.user_id AND s.opened_at > latest.at AND {newer} OFFSET 0)"""
_IN_THE_PERIOD: Final = "s.opened_at >= $1 AND s.opened_at < $2"

# The users who came in the period: on the first page, and on a later one.
_SESSIONS_OF_IT: Final = (
    "SELECT user_id, opened_at AS at FROM sessions WHERE opened_at >= $1 AND opened_at < $2 AND opened_at <= $5"
)
_CAME_LAST: Final = _NEWEST.format(read=_SESSIONS_OF_IT, who_has_none_newer="")
_CAME: Final = _NEWEST.format(read=_SESSIONS_OF_IT, who_has_none_newer=_HAS_NONE.format(newer=_IN_THE_PERIOD))

# After these, the users who were there when the period began, and did not come again in it.
_STAYED: Final = _NEWEST.format(
    read=" UNION ALL ".join(
        f"""(
    SELECT user_id, opened_at AS at FROM sessions
    WHERE opened_at < $1 AND opened_at <= $5 AND user_id <> '' AND {condition} ORDER BY opened_at DESC LIMIT $3)"""
        for condition in there_at("$1")
    ),
    who_has_none_newer=_HAS_NONE.format(
        newer=f"({_IN_THE_PERIOD} OR s.opened_at < $1 AND (s.ended_at IS NULL OR s.ended_at > $1))"
    ),
)

# If few users come often, or most clients are anonymous, the newest sessions have too few users: this goes from user to
# user in the index by user, and skips the other sessions of each.
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
_ROWS_TO_EACH: Final = 16
"""At most `_EACH_UP_TO` users are visited this way, and two more for each wanted user; or one for every `_ROWS_TO_EACH`
sessions that would be read instead. If there are more users, the newest sessions have enough of them."""

# All users of a page are looked up together: one by one, PostgreSQL would read three times as many pages.
_SEEN: Final = """
SELECT user_id AS user, came.at AS came_at, coalesce(first_seen, came.at) AS first_seen,
    coalesce(last_seen, came.at) AS last_seen, coalesce(sessions, 0) AS sessions,
    coalesce(connections, 0) AS connections, coalesce(devices, 0) AS devices, coalesce(versions, 0) AS versions,
    coalesce(open.count, 0) AS connected
FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS came(user_id, at, place) LEFT JOIN (
    SELECT user_id, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
        sum(sessions)::bigint AS sessions, sum(connections)::bigint AS connections,
        count(DISTINCT (session_key, client_name)) AS devices, count(DISTINCT (client_name, client_version)) AS versions
    FROM user_devices WHERE user_id = ANY($1::text[]) GROUP BY user_id
) AS known USING (user_id) LEFT JOIN (
    SELECT user_id, count(*) FROM sessions WHERE user_id = ANY($1::text[]) AND ended_at IS NULL GROUP BY user_id
) AS open USING (user_id)
ORDER BY place"""

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
    """A user, over all known time, except `came_at`: the beginning of the newest of their sessions in the period of the
    question. A device is a session key and a client name. `last_seen` is when the user last came or left; `connected`:
    how many sessions are connected now."""

    user: str
    came_at: datetime
    first_seen: datetime
    last_seen: datetime
    sessions: int
    connections: int
    devices: int
    versions: int
    connected: int


class Device(Struct):
    """What one device of a user did with one version of its client. `connected`: how many of its sessions are connected
    now."""

    session_key: str
    client_name: str
    client_version: str
    first_seen: datetime
    last_seen: datetime
    sessions: int
    connections: int
    connected: int


class KnownUser(Struct):
    """Everything about one user: how many sessions are connected, and the devices, the one seen last first."""

    user: str
    connected: int
    devices: list[Device]


class Users:
    """Asks about users."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def seen(self, period: Period, limit: int, after: UserPlace | None = None) -> list[SeenUser]:
        """Up to `limit` users with a session in this period, latest arrival first, from the place `after` on. This
        includes users who were connected all the time, but not anonymous clients."""
        async with self._pool.database() as database:
            users = await _latest(database, period, limit, after or _FIRST)
            rows = await database.fetch(_SEEN, [one.user for one in users], [one.at for one in users])
        return [SeenUser(**row) for row in rows]

    async def one(self, user: str) -> KnownUser | None:
        """What is known about a user, with at most `MAX_DEVICES` devices; None if nothing is known."""
        async with self._pool.database() as database:
            devices = await database.fetch(_DEVICES, identity(user), MAX_DEVICES)
            connected = await database.fetchval(_CONNECTED, identity(user))
        return KnownUser(user, connected, [Device(**row) for row in devices]) if devices else None


_FIRST: Final = UserPlace(LAST_DAY, "")
"""Before all users."""


async def _latest(database: Database, period: Period, limit: int, after: UserPlace) -> list[UserPlace]:
    """The users who were there in the period, in their order."""
    found = await _who_came(database, period, limit, after) if after.at >= period.since else []
    if len(found) == limit:
        return found
    reach, wanted = limit * _ROWS_OF_A_USER, limit - len(found)
    while True:
        stayed = await _newest(database, _STAYED, period, reach, wanted, after)
        if len(stayed.users) == wanted or stayed.all_are_read:
            return [*found, *stayed.users]
        reach *= _MORE


async def _who_came(database: Database, period: Period, limit: int, after: UserPlace) -> list[UserPlace]:
    """The users who came in the period."""
    reach, statement = limit * _ROWS_OF_A_USER, _CAME_LAST if after == _FIRST else _CAME
    while True:
        came = await _newest(database, statement, period, reach, limit, after)
        if len(came.users) == limit or came.all_are_read:
            return came.users
        if reach > limit * _ROWS_OF_A_USER:
            most = max(2 * limit + _EACH_UP_TO, reach // _ROWS_TO_EACH)
            if (each := await _each(database, period, most)) is not None:
                return [one for one in each if (one.at, one.user) < (after.at, after.user)][:limit]
        reach *= _MORE


class _Newest(NamedTuple):
    """Users in their order, and whether there are no others."""

    users: list[UserPlace]
    all_are_read: bool


async def _newest(
    database: Database, statement: str, period: Period, reach: int, limit: int, after: UserPlace
) -> _Newest:
    """The first `limit` users of the newest `reach` sessions."""
    rows = await database.fetch(statement, period.since, period.until, reach, limit, after.at, after.user)
    (read,) = (row for row in rows if row["user_id"] is None)
    all_are_read = read["read"] < reach
    # There may be other users of the last moment that was read, whose places are before those that were read.
    users = [
        UserPlace(row["at"], row["user_id"])
        for row in rows
        if row["user_id"] is not None and (all_are_read or row["at"] > read["at"])
    ]
    return _Newest(users, all_are_read)


async def _each(database: Database, period: Period, most: int) -> list[UserPlace] | None:
    """All users who came in the period, in their order; None if there are `most` of them, or more."""
    rows = await database.fetch(_EACH, period.since, period.until, most)
    if len(rows) >= most:
        return None
    users = [UserPlace(row["at"], row["user_id"]) for row in rows]
    return sorted(users, key=lambda one: (one.at, one.user), reverse=True)
