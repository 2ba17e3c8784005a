"""What PostgreSQL has about a user beside the read models: letters that were set aside, and what webhooks know.

The rows of read models are deleted in the transaction that folds `Erased`; here they are only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from services.chassis.postgres.pool import Pool
from services.sessions.erasing_postgres import REFUSALS_OF_CONNECTIONS, erase_users, portions
from services.sessions.privacy.channels_postgres import OwnChannels
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections, Rewritten, connection_digest, facts_of
from services.sessions.projection import NAME, NAMES
from services.sessions.rebuilding.beside_postgres import remove_left_behind
from services.sessions.rows_postgres import milliseconds
from services.sessions.statements import LOCK_POSITION, NEXT_GENERATION
from services.sessions.store import ORIGIN, Position

_ERASED: Final = "erased"
"""The new reason of a letter whose reason named the user."""

CONNECTIONS: Final = """
SELECT c.id FROM connections c JOIN sessions s ON s.id = c.session_id WHERE s.user_id = $1"""
_ERASED_CONNECTIONS: Final = "SELECT connection FROM erased_connections WHERE user_digest = $1"
_REMEMBER: Final = """
INSERT INTO erased_connections (user_digest, connection, at) SELECT $1, c, now() FROM unnest($2::bytea[]) AS c
ON CONFLICT (user_digest, connection) DO UPDATE SET at = excluded.at"""
_OPEN: Final = "SELECT count(*) FROM sessions WHERE user_id = $1 AND ended_at IS NULL"  # as long as a connection is
_HEARD: Final = "SELECT sum(extract(epoch FROM heard_at))::text FROM heard_edges"
_ERASURE: Final = "SELECT at FROM erasures WHERE user_digest = $1"
# A model that another version has folded is folded on, but its own position stays behind until it is rebuilt.
_POSITIONS: Final = """
SELECT epoch, sequence FROM projections WHERE name = ANY($2::text[])
UNION ALL SELECT epoch, sequence FROM webhooks WHERE name = ANY($1::text[])"""

_COUNTS: Final = {
    "sessions": "SELECT count(*) FROM sessions WHERE user_id = $1",
    "devices": "SELECT count(*) FROM user_devices WHERE user_id = $1",
    "refusals": "SELECT count(*) FROM refusals WHERE user_id = $1 AND user_id <> ''",
}
_COUNTS_OF_CONNECTIONS: Final = {
    "connections": "SELECT count(*) FROM connections WHERE id = ANY($1::text[])",
    "subscriptions": "SELECT count(*) FROM subscriptions WHERE connection = ANY($1::text[])",
    "timeline": "SELECT count(*) FROM timeline WHERE connection = ANY($1::text[])",
    "refusals": """SELECT count(*) FROM refusals
        WHERE connection = ANY($1::text[]) AND user_id = '' AND connection <> ''""",
}
"""The connections are read first: with joins, PostgreSQL would read whole tables."""
_PAGE: Final = 64


class Kept(NamedTuple):
    """A table whose rows hold JSON that may be about several users."""

    store: str
    read: str
    """Reads the rows after a key, in order: the key's columns, the JSON, and the reason why it was set aside."""
    start: tuple[Any, ...]
    remove: str
    rewrite: str
    """Parameters: the key's columns, the reason, the JSON, and its size."""
    size: Callable[[Rewritten], int] = lambda left: 0
    """The size as the table stores it."""


DEAD_LETTERS: Final = Kept(
    "dead letters",
    """SELECT epoch, sequence, data, reason FROM dead_letters WHERE (epoch, sequence) > ($1, $2)
    ORDER BY epoch, sequence LIMIT $3""",
    ("", 0),
    "DELETE FROM dead_letters WHERE epoch = $1 AND sequence = $2",
    "UPDATE dead_letters SET reason = $3, data = $4, size = $5 WHERE epoch = $1 AND sequence = $2",
    lambda left: len(left.data or b""),
)
WEBHOOK_LETTERS: Final = Kept(
    "webhook dead letters",
    """SELECT number, body, reason FROM webhook_dead_letters WHERE number > $1 ORDER BY number LIMIT $2""",
    (-1,),
    "DELETE FROM webhook_dead_letters WHERE number = $1",
    "UPDATE webhook_dead_letters SET reason = $2, body = $3, events = $4 WHERE number = $1",
    lambda left: left.left,
)
WEBHOOK_STATES: Final = Kept(
    "webhook states",
    """SELECT webhook, connection, state, '' FROM webhook_connections WHERE (webhook, connection) > ($1, $2)
    ORDER BY webhook, connection LIMIT $3""",
    ("", ""),
    "DELETE FROM webhook_connections WHERE webhook = $1 AND connection = $2",
    "",
)
KEPT: Final = (DEAD_LETTERS, WEBHOOK_LETTERS, WEBHOOK_STATES)


class KeptRow(NamedTuple):
    """A row of such a table."""

    key: tuple[Any, ...]
    data: bytes
    reason: str


class Tables:
    """Every method raises `StoreAway`."""

    def __init__(self, pool: Pool, person: Person) -> None:
        self._pool = pool
        self._person = person
        self._channels = OwnChannels(person)

    async def connections(self) -> Connections:
        """The user's connections that the tables know, and the digests of those from earlier erasures."""
        async with self._pool.database() as database, database.transaction():
            known = {row[0] async for row in database.cursor(CONNECTIONS, self._person.stored)}
            erased = {row[0] async for row in database.cursor(_ERASED_CONNECTIONS, self._person.digest)}
        return Connections(self._person, known, erased)

    async def remember(self, about: Connections) -> None:
        """Keeps digests of the user's connections: soon nothing else tells whose they were, and late facts may name
        them."""
        async with self._pool.database() as database:
            for some in portions(sorted(about.known)):
                await database.execute(_REMEMBER, self._person.digest, [connection_digest(one) for one in some])

    async def open_sessions(self) -> int:
        """How many sessions of the user are open."""
        async with self._pool.database() as database:
            return int(await database.fetchval(_OPEN, self._person.stored))

    async def heard(self) -> str:
        """A value that changes each time that the service hears an edge, whatever the clocks say."""
        async with self._pool.database() as database:
            return str(await database.fetchval(_HEARD))

    async def erased_at(self) -> int:
        """When the user was erased, as the fold knows it: Unix milliseconds, 0 if never."""
        async with self._pool.database() as database:
            at = await database.fetchval(_ERASURE, self._person.digest)
        return 0 if at is None else milliseconds(at)

    async def position(self, webhooks: list[str]) -> Position:
        """The position of the slowest reader of the log: the read models, and these webhooks once they have begun."""
        async with self._pool.database() as database:
            stored = await database.fetch(_POSITIONS, webhooks, list(NAMES.values()))
        rows = [Position(*row) for row in stored]
        return min(rows, default=ORIGIN, key=lambda row: row.sequence) if len({r.epoch for r in rows}) == 1 else ORIGIN

    async def count(self, about: Connections) -> Counter[str]:
        """How much there is about the user, by store."""
        counts: Counter[str] = Counter()
        async with self._pool.database() as database:
            for store, query in _COUNTS.items():
                counts[store] = int(await database.fetchval(query, self._person.stored))
            for some in portions(sorted(about.known)):
                for store, query in _COUNTS_OF_CONNECTIONS.items():
                    counts[store] += int(await database.fetchval(query, some))
            names = await self._channels.names(database, about)
            counts["channels"] = len(names)
            counts["subscriptions to and refusals of these channels"] = await self._channels.count(database, names)
        for kept in KEPT:
            async for row in self.rows(kept):
                counts[kept.store] += self._taken_out(kept, row, about) is not None
        return +counts

    async def erase(self, about: Connections) -> None:
        """Removes the user from all tables other than read models, and everything about the user's own channels from
        all tables. `Erased` must have been folded. Also removes rows that the fold could not find by the digest, as the
        device had no row; and the tables that killed rebuilds have left beside the live ones."""
        for kept in KEPT:
            async for row in self.rows(kept):
                left = self._taken_out(kept, row, about)
                if left is not None:
                    await self._replace(kept, row, left)
        async with self._pool.database() as database, database.transaction():
            await database.fetchrow(LOCK_POSITION, NAME)
            until = milliseconds(await database.fetchval(_ERASURE, self._person.digest))
            await erase_users(database, {self._person.stored: until})
            for some in portions(sorted(about.known)):  # stored after `Erased`: the fold knew none any more
                await database.execute(REFUSALS_OF_CONNECTIONS, some)
            await self._channels.erase(database, await self._channels.names(database, about), until, about)
            await database.execute(NEXT_GENERATION, NAME)  # so that processes with such rows in memory load them anew
        async with self._pool.database() as database:
            await remove_left_behind(database)

    async def rows(self, kept: Kept) -> AsyncIterator[KeptRow]:
        """All rows of a table."""
        after = kept.start
        while True:
            async with self._pool.database() as database:
                page = [_kept_row(row) for row in await database.fetch(kept.read, *after, _PAGE)]
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            after = page[-1].key

    def is_about_the_user(self, kept: Kept, row: KeptRow, about: Connections) -> bool:
        """Whether anything in a row is about the user."""
        return self._taken_out(kept, row, about) is not None

    def _taken_out(self, kept: Kept, row: KeptRow, about: Connections) -> Rewritten | None:
        """What is left of a row without the user; None if the row is not about the user."""
        if kept is WEBHOOK_STATES:
            try:
                state = msgspec.json.decode(row.data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                state = None
            theirs = isinstance(state, dict) and (self._person.has_id(state.get("user")) or about.has(row.key[1]))
            return Rewritten(None, 1) if theirs else None
        left = about.rewritten(row.data)
        if left is None and self._person.is_named_in(row.reason):
            left = Rewritten(row.data, 0, len(facts_of(row.data)))
        return left

    async def _replace(self, kept: Kept, row: KeptRow, left: Rewritten) -> None:
        async with self._pool.database() as database:
            if left.data is None or not left.left:
                await database.execute(kept.remove, *row.key)
            else:
                reason = _ERASED if self._person.is_named_in(row.reason) else row.reason
                await database.execute(kept.rewrite, *row.key, reason, left.data, kept.size(left))


def _kept_row(row: asyncpg.Record) -> KeptRow:
    *key, data, reason = row
    return KeptRow(tuple(key), data, reason)
