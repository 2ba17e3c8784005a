"""The facts that tell what a connection had got when it ended, and what its client got when it was back.

Of all facts about these connections only those of two types are read: a client may subscribe and leave without end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from proto.events import Closed, SessionEvent, Subscribed
from services.chassis.postgres.pool import Database
from services.sessions.queries.timeline_postgres import PORTION, ConnectionLife, facts_in

MAX_FACTS: Final = 20_000
MAX_BYTES: Final = 8 * 1024 * 1024
"""How much each of the two reads for one answer: facts, and their size. They are decoded in the event loop that also
follows the log and hears edges."""
_AT_ONCE: Final = 100
"""Connections in one statement. PostgreSQL puts their rows in order before it returns the first one."""

# The text tells which rows are wanted: the order of fields in a fact, and spaces between them, are not promised. No row
# of facts is older than the opening of its connection.
_OF_CONNECTIONS: Final = """
SELECT w.place, w.id, f.facts::text
FROM unnest($1::int[], $2::text[], $3::timestamptz[]) AS w(place, id, opened_at)
CROSS JOIN LATERAL (
    SELECT at, number, facts FROM timeline WHERE connection = w.id AND at >= w.opened_at AND {which} LIMIT $4
) AS f
ORDER BY w.place, f.at, f.number"""
_CLOSED: Final = _OF_CONNECTIONS.format(which="facts::text LIKE '%\"closed\"%' ORDER BY at DESC, number DESC")
_SUBSCRIBED: Final = _OF_CONNECTIONS.format(which="facts::text LIKE '%\"subscribed\"%' ORDER BY at, number")


class Closings(NamedTuple):
    """How connections were closed. `cut` is the place of the first one that was not read, as there was too much; None
    if all were."""

    closed: dict[str, Closed]
    cut: int | None


class Beginnings(NamedTuple):
    """The first subscription to each channel, by connection. `cut` is the place of the first connection that was not
    read to its end, as there was too much; None if all were."""

    subscribed: dict[str, dict[str, Subscribed]]
    cut: int | None


async def closings(database: Database, lives: Sequence[ConnectionLife]) -> Closings:
    """How these were closed; of the first one in any case."""
    found: dict[str, Closed] = {}
    async with aclosing(_read(database, _CLOSED, dict(enumerate(lives)), 1)) as rows:
        async for place, connection, events in rows:
            if events is None:
                return Closings(found, max(place, 1))
            for event in events:
                if isinstance(event, Closed):
                    found[connection] = event
    return Closings(found, None)


async def beginnings(database: Database, lives: Mapping[int, ConnectionLife]) -> Beginnings:
    """What these subscribed to first; each has its place, in this order."""
    found: dict[str, dict[str, Subscribed]] = {}
    async with aclosing(_read(database, _SUBSCRIBED, lives, MAX_FACTS + 1)) as rows:
        async for place, connection, events in rows:
            if events is None:
                return Beginnings(found, max(place, 1))
            for event in events:
                if isinstance(event, Subscribed):
                    found.setdefault(connection, {}).setdefault(event.channel, event)
    return Beginnings(found, None)


async def _read(
    database: Database, statement: str, lives: Mapping[int, ConnectionLife], limit: int
) -> AsyncGenerator[tuple[int, str, list[SessionEvent | None] | None]]:
    """Rows of these connections: the place of each, the connection, and the facts as this version reads them; None for
    the first row that is too much. The very first row is not, however large it is."""
    wanted, count, size = list(lives.items()), 0, 0
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        places, ids = [place for place, _ in some], [one.id for _, one in some]
        cursor = await database.cursor(statement, places, ids, [one.opened_at for _, one in some], limit)
        while rows := await cursor.fetch(PORTION):
            for place, connection, facts in rows:
                found = facts_in(connection, facts)
                is_first = not count
                count, size = count + len(found), size + len(facts)
                is_too_much = (count > MAX_FACTS or size > MAX_BYTES) and not is_first
                yield place, connection, None if is_too_much else [one.event for one in found]
