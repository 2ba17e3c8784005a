"""All facts of a session's life, in order, with its connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Raw, Struct

from proto.events import SessionEvent
from services.chassis.postgres.pool import Database, Pool
from services.sessions.values import after_prefix, name_of, time_of

MAX_CONNECTIONS: Final = 1000
MAX_FACTS: Final = 10_000
MAX_BYTES: Final = 4 * 1024 * 1024
"""Facts in one answer, and their size: the earliest ones. They are sorted and encoded in the event loop that also
follows the log and hears edges: 10,000 of them take less than 0.1 s, while 500,000 took 5.5 s, and 460 MB."""
PORTION: Final = 16
"""Rows that are in memory at a time. A row has the facts of one connection in one batch of its edge: at most 500 facts,
and hardly ever more than 256 KiB."""

_SESSION: Final = """
SELECT id, user_id AS user, session_key, client_name, client_version, address, opened_at, ended_at,
    away_until, end_code, end_reason, end_by
FROM sessions WHERE id = COALESCE((SELECT session_id FROM connections WHERE id = $1 LIMIT 1), $1)"""

MAX_NAMED: Final = 5
_MAX_FOUND: Final = 200

# A session has the id of its first connection, whose row may be gone.
_BEGINNING: Final = f"""
SELECT DISTINCT session FROM (
    (SELECT session_id AS session FROM connections WHERE id >= $1 AND id < $2 ORDER BY id LIMIT {_MAX_FOUND})
    UNION ALL (SELECT id FROM sessions WHERE id >= $1 AND id < $2 ORDER BY id LIMIT {_MAX_FOUND})
) AS found ORDER BY session LIMIT {MAX_NAMED + 1}"""

# Reads the partitions of the session's own time, and of the day before it, as clocks of edges may differ.
_CONNECTIONS: Final = """
SELECT id, edge, instance, client_version, address, opened_at, closed_at, close_code, close_reason, close_by
FROM connections
WHERE session_id = $1 AND opened_at >= $3::timestamptz - '24:00:00'::interval ORDER BY opened_at, id LIMIT $2"""

# No row of facts is older than the opening of its connection. Facts are made texts after the rows are in order, and
# only as far as they are fetched.
_FACTS: Final = """
SELECT connection, facts::text FROM (
    SELECT connection, facts FROM timeline WHERE connection = ANY($1::text[]) AND at >= $2
    ORDER BY at, connection, number LIMIT $3
) AS ordered"""

_decode_fact: Final[Callable[[bytes], SessionEvent]] = msgspec.json.Decoder(SessionEvent).decode
_decode_facts = msgspec.json.Decoder(list[Raw]).decode


class _Header(Struct):
    """The fields of every fact, whatever its type."""

    at: int = 0
    type: str = ""


_decode_header = msgspec.json.Decoder(_Header).decode


class SessionLife(Struct):
    """A session: its user and client, and how it ended. The last five fields are None or "" while it is connected.
    `client_version` and `address` are those of its last connection."""

    id: str
    user: str
    session_key: str
    client_name: str
    client_version: str
    address: str
    opened_at: datetime
    ended_at: datetime | None
    away_until: datetime | None
    end_code: int | None
    end_reason: str
    end_by: str


class ConnectionLife(Struct):
    """A connection of a session. `closed_at` and `close_code` are None while it is open."""

    id: str
    edge: str
    instance: str
    client_version: str
    address: str
    opened_at: datetime
    closed_at: datetime | None
    close_code: int | None
    close_reason: str
    close_by: str


class TimelineFact(Struct):
    """A fact about a connection: as the log has it, in JSON."""

    connection: str
    fact: Raw

    @property
    def event(self) -> SessionEvent | None:
        """The fact as this version reads it; None if it cannot."""
        try:
            return _decode_fact(self.fact)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    @property
    def at(self) -> datetime:
        """When it happened."""
        return datetime.fromtimestamp(time_of(_decode_header(self.fact).at) / 1000, UTC)

    @property
    def type(self) -> str:
        """The name of its type, even of a type that this version does not know."""
        return _decode_header(self.fact).type


class Timeline(Struct):
    """A session with its connections, oldest first, and the facts about them in order; `truncated` if there are more.

    The facts may be removed before the session is: then only the connections are left.
    """

    session: SessionLife
    connections: list[ConnectionLife]
    facts: list[TimelineFact]
    truncated: bool


class Timelines:
    """Asks for the timeline of a session."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of(self, id_: str) -> Timeline | None:
        """The session with this id, or that of the connection with this id; None if there is neither."""
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            row = await database.fetchrow(_SESSION, name_of(id_))
            if row is None:
                return None
            session = SessionLife(**row)
            rows = await database.fetch(_CONNECTIONS, session.id, MAX_CONNECTIONS + 1, session.opened_at)
            connections = [ConnectionLife(**one) for one in rows[:MAX_CONNECTIONS]]
            facts, is_cut = await _facts_of(database, connections)
        facts.sort(key=lambda one: one.at)  # facts of two edges may overlap; those of one moment stay in their order
        return Timeline(session, connections, facts, is_cut or len(rows) > MAX_CONNECTIONS)

    async def beginning_with(self, beginning: str) -> list[str]:
        """The ids of sessions whose id, or the id of one of whose connections, begins with this: `MAX_NAMED` of them,
        and one more if there are others."""
        first = name_of(beginning)
        async with self._pool.database() as database:
            rows = await database.fetch(_BEGINNING, first, after_prefix(first))
        return [row["session"] for row in rows]


async def _facts_of(database: Database, connections: Sequence[ConnectionLife]) -> tuple[list[TimelineFact], bool]:
    """The earliest facts about these connections, row by row, and whether there are more."""
    found: list[TimelineFact] = []
    if not connections:
        return found, False
    ids, first, size = [one.id for one in connections], min(one.opened_at for one in connections), 0
    cursor = await database.cursor(_FACTS, ids, first, MAX_FACTS + 1)
    while rows := await cursor.fetch(PORTION):
        for connection, facts in rows:
            size += len(facts)
            if size > MAX_BYTES:
                return found, True
            found += facts_in(connection, facts)
            if len(found) > MAX_FACTS:
                return found[:MAX_FACTS], True
    return found, False


def facts_in(connection: str, facts: str) -> list[TimelineFact]:
    """The facts of a row."""
    return [TimelineFact(connection, Raw(one)) for one in _decode_facts(facts)]
