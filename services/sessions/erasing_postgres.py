"""Deletes what is stored about users who were erased. Indexes find all rows of a user, however large the tables are.

Tables have user ids, and the log has digests. The user of a digest is looked up where few rows name users: in
`user_devices`, which has a row for each device of every user with a session (`retention_postgres` keeps it that long),
and in `refusals`. `user_devices` is read as a whole, in some seconds for five million devices, while facts wait: an
index of digests would be written with each fact about a device, and slow the fold down by 3 %.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from services.chassis.postgres.pool import Database
from services.sessions.rows_postgres import moment
from services.sessions.statements import DIGEST

_IS_DIGEST: Final = re.compile(r"[0-9a-f]{64}").fullmatch

USERS_OF_DIGESTS: Final = f"""
SELECT user_id, encode({DIGEST}, 'hex') AS digest FROM user_devices WHERE {DIGEST} = ANY($1::bytea[])
UNION SELECT user_id, encode({DIGEST}, 'hex') FROM refusals WHERE user_id <> '' AND {DIGEST} = ANY($1::bytea[])"""

_ERASED: Final = "unnest($1::text[], $2::timestamptz[]) AS e(name, until)"
SESSIONS: Final = (
    f"DELETE FROM sessions s USING {_ERASED} WHERE s.user_id = e.name AND s.opened_at <= e.until RETURNING s.id"
)
CONNECTIONS: Final = "DELETE FROM connections WHERE session_id = ANY($1::text[]) RETURNING id"
REFUSALS_OF_CONNECTIONS: Final = """
DELETE FROM refusals WHERE connection = ANY($1::text[]) AND user_id = '' AND connection <> ''"""
"""Refusals without a user: an edge leaves out ids that are too long for a fact of this kind."""
OF_CONNECTIONS: Final = (
    "DELETE FROM timeline WHERE connection = ANY($1::text[])",
    "DELETE FROM subscriptions WHERE connection = ANY($1::text[])",
    REFUSALS_OF_CONNECTIONS,
)
REFUSALS: Final = (
    f"DELETE FROM refusals r USING {_ERASED} WHERE r.user_id = e.name AND r.user_id <> '' AND r.at <= e.until"
)
_DEVICES: Final = "DELETE FROM user_devices WHERE user_id = ANY($1::text[])"

_REMEMBER: Final = """
INSERT INTO erasures (user_digest, at) SELECT e.* FROM unnest($1::text[], $2::timestamptz[]) AS e
ON CONFLICT (user_digest) DO UPDATE SET at = GREATEST(erasures.at, excluded.at)"""

_PORTION: Final = 1_000

_SEARCH_S: Final = 600.0
"""How long the search among all devices may take, in place of the limit of other statements."""


async def users_of(database: Database, digests: Collection[str]) -> dict[str, str]:
    """The users with these digests that the tables name, each with the digest. A text that is not a digest matches
    nobody."""
    asked = [bytes.fromhex(digest) for digest in digests if _IS_DIGEST(digest)]
    if not asked:
        return {}
    rows = await database.fetch(USERS_OF_DIGESTS, asked, timeout=_SEARCH_S)
    return {row["user_id"]: row["digest"] for row in rows}


async def erase(database: Database, erased: Sequence[tuple[str, int]]) -> None:
    """Deletes what is stored about the users with these digests, up to these moments, and remembers the digests."""
    until = dict(sorted(erased, key=lambda each: each[1]))
    users = await users_of(database, until)
    await erase_users(database, {name: until[digest] for name, digest in users.items()})
    await database.execute(_DEVICES, list(users))
    await database.execute(_REMEMBER, list(until), [moment(at) for at in until.values()])


async def erase_users(database: Database, until: Mapping[str, int]) -> None:
    """Deletes the sessions and refusals of these users up to these moments, and all that belongs to the sessions."""
    names, ats = list(until), [moment(at) for at in until.values()]
    sessions = [row["id"] for row in await database.fetch(SESSIONS, names, ats)]
    for some in portions(sessions):
        connections = [row["id"] for row in await database.fetch(CONNECTIONS, some)]
        for few in portions(connections):
            for statement in OF_CONNECTIONS:
                await database.execute(statement, few)
    await database.execute(REFUSALS, names, ats)


def portions(keys: Sequence[str]) -> Iterator[list[str]]:
    """The keys in portions so small that PostgreSQL looks up each key: for many more it would rather read the whole
    table."""
    return (list(keys[at : at + _PORTION]) for at in range(0, len(keys), _PORTION))
