"""What tables of PostgreSQL hold about a user beside the read models: what was set aside, and what webhooks know.

The rows of read models go when `Erased` is folded, in the transaction that folds it; they are only counted here, and
waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from services.chassis.postgres.pool import Pool
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections, Rewritten, facts_of
from services.sessions.rows_postgres import milliseconds
from services.sessions.store import ORIGIN, Position

_ERASED: Final = "erased"
"""What the reason of a letter becomes that named the user."""

CONNECTIONS: Final = """
SELECT c.id FROM connections c JOIN sessions s ON s.id = c.session_id WHERE s.user_id = $1"""
_OPEN: Final = "SELECT count(*) FROM sessions WHERE user_id = $1 AND ended_at IS NULL"
_ERASURE: Final = "SELECT at FROM erasures WHERE user_digest = $1"
_POSITIONS: Final = """
SELECT epoch, sequence FROM projections
UNION ALL SELECT epoch, sequence FROM webhooks WHERE name = ANY($1::text[])"""

_COUNTS: Final = {
    "sessions": "SELECT count(*) FROM sessions WHERE user_id = $1",
    "connections": f"SELECT count(*) FROM ({CONNECTIONS}) AS c",
    "subscriptions": f"SELECT count(*) FROM subscriptions WHERE connection IN ({CONNECTIONS})",
    "timeline": f"SELECT count(*) FROM timeline WHERE connection IN ({CONNECTIONS})",
    "devices": "SELECT count(*) FROM user_devices WHERE user_id = $1",
    "refusals": "SELECT count(*) FROM refusals WHERE user_id = $1 AND user_id <> ''",
}

_HIS_CHANNELS: Final = "right({name}, char_length($1) + 1) = '#' || $1"
_CHANNELS: Final = {
    "channels": f"SELECT name FROM channels WHERE {_HIS_CHANNELS.format(name='name')}",
    "channel_hours": f"SELECT DISTINCT channel FROM channel_hours WHERE {_HIS_CHANNELS.format(name='channel')}",
    "channel_days": f"SELECT DISTINCT channel FROM channel_days WHERE {_HIS_CHANNELS.format(name='channel')}",
}
_REMOVE_CHANNELS: Final = {
    "channels": "DELETE FROM channels WHERE name = ANY($1::text[])",
    "channel_hours": "DELETE FROM channel_hours WHERE channel = ANY($1::text[])",
    "channel_days": "DELETE FROM channel_days WHERE channel = ANY($1::text[])",
}
_PAGE: Final = 64


class Kept(NamedTuple):
    """A table whose rows hold JSON that may be about several users."""

    store: str
    read: str
    """Its rows after a key, in order: the key's columns, the JSON, and the reason why it was set aside."""
    start: tuple[Any, ...]
    remove: str
    rewrite: str
    """Parameters: the key's columns, the reason, the JSON, and its size."""
    size: Callable[[Rewritten], int] = lambda left: 0
    """The size as the table has it."""


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

    async def connections(self) -> set[str]:
        """His connections that the tables know."""
        async with self._pool.database() as database, database.transaction():
            return {row[0] async for row in database.cursor(CONNECTIONS, self._person.stored)}

    async def open_sessions(self) -> int:
        """How many sessions of his are open."""
        async with self._pool.database() as database:
            return int(await database.fetchval(_OPEN, self._person.stored))

    async def erased_at(self) -> int:
        """When he was erased, as the fold knows it: Unix milliseconds, 0 if he never was."""
        async with self._pool.database() as database:
            at = await database.fetchval(_ERASURE, self._person.digest)
        return 0 if at is None else milliseconds(at)

    async def position(self, webhooks: list[str]) -> Position:
        """What the slowest reader of the log has read: the read models, and these webhooks once they have begun."""
        async with self._pool.database() as database:
            rows = [Position(*row) for row in await database.fetch(_POSITIONS, webhooks)]
        return min(rows, default=ORIGIN, key=lambda row: row.sequence) if len({r.epoch for r in rows}) == 1 else ORIGIN

    async def count(self, about: Connections) -> Counter[str]:
        """How much there is about him, by store."""
        counts: Counter[str] = Counter()
        async with self._pool.database() as database:
            for store, query in _COUNTS.items():
                counts[store] = int(await database.fetchval(query, self._person.stored))
        counts["channels"] = len({name for names in (await self._channels()).values() for name in names})
        for kept in KEPT:
            async for row in self.rows(kept):
                counts[kept.store] += self._taken_out(kept, row, about) is not None
        return +counts

    async def erase(self, about: Connections) -> None:
        """Takes him out of what is no read model, and deletes what a channel of his has become in them."""
        for kept in KEPT:
            async for row in self.rows(kept):
                left = self._taken_out(kept, row, about)
                if left is not None:
                    await self._replace(kept, row, left)
        channels = await self._channels()
        async with self._pool.database() as database:
            for table, statement in _REMOVE_CHANNELS.items():
                await database.execute(statement, channels[table])

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

    def is_about_him(self, kept: Kept, row: KeptRow, about: Connections) -> bool:
        """Whether something in a row is about him."""
        return self._taken_out(kept, row, about) is not None

    def _taken_out(self, kept: Kept, row: KeptRow, about: Connections) -> Rewritten | None:
        """What is left of a row without him; None if it is not about him."""
        if kept is WEBHOOK_STATES:
            try:
                state = msgspec.json.decode(row.data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                state = None
            his = isinstance(state, dict) and (self._person.has_id(state.get("user")) or row.key[1] in about.known)
            return Rewritten(None, 1) if his else None
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

    async def _channels(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        async with self._pool.database() as database:
            for table, query in _CHANNELS.items():
                names = (row[0] for row in await database.fetch(query, self._person.user.replace("\0", "\ufffd")))
                found[table] = [name for name in names if self._person.owns(name)]
        return found


def _kept_row(row: asyncpg.Record) -> KeptRow:
    *key, data, reason = row
    return KeptRow(tuple(key), data, reason)
