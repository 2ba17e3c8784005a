"""How far webhooks have come, in PostgreSQL: one process at a time works on a webhook, and moves it on in transactions.

A connection to PostgreSQL holds the lock. It is released when the process ends, so that another one takes over at once;
and as everything is written over the connection that holds the lock, nobody writes without it. A machine that vanishes,
or a process that hangs, loses the lock too: PostgreSQL ends its connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from services.chassis.postgres.pool import Database, Pool
from services.sessions.entries import storable
from services.sessions.rows_postgres import milliseconds
from services.sessions.store import Position
from services.sessions.webhooks.progress import MAX_LETTERS, Progress, SetAside, Stored, WebhookLetter
from services.sessions.webhooks.tracker import Changes

_LOCK_SPACE: Final = 0x776562  # "web": the first key of our advisory locks
_LOCK: Final = "SELECT pg_try_advisory_lock($1, hashtext($2))"

IDLE_S: Final = 180
"""After this time without a statement PostgreSQL ends the connection. A working webhook runs a statement at least every
two minutes: the longest timeout of a request, plus the longest pause before the next."""

_KEEPALIVE_S: Final = 5
_PROBES: Final = 3
"""With these values PostgreSQL ends the connection after 20 s without an answer from the machine. The default is two
hours."""

_WATCH: Final = """
SELECT set_config('tcp_keepalives_idle', $1, false), set_config('tcp_keepalives_interval', $1, false),
    set_config('tcp_keepalives_count', $2, false), set_config('idle_session_timeout', $3, false)"""

_PROGRESS: Final = "SELECT epoch, sequence, part, silent_until FROM webhooks WHERE name = $1"
_ROWS: Final = "SELECT connection, state FROM webhook_connections WHERE webhook = $1"
_WRITERS: Final = "SELECT instance, number FROM webhook_writers WHERE webhook = $1"

_MOVE: Final = """
INSERT INTO webhooks (name, epoch, sequence, part, silent_until, moved_at) VALUES ($1, $2, $3, $4, $5, now())
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence, part = excluded.part,
    silent_until = excluded.silent_until, moved_at = excluded.moved_at"""
_PUT_ROWS: Final = """
INSERT INTO webhook_connections (webhook, connection, state)
SELECT $1, r.* FROM unnest($2::text[], $3::bytea[]) AS r
ON CONFLICT (webhook, connection) DO UPDATE SET state = excluded.state"""
_REMOVE_ROWS: Final = "DELETE FROM webhook_connections WHERE webhook = $1 AND connection = ANY($2::text[])"
_PUT_WRITERS: Final = """
INSERT INTO webhook_writers (webhook, instance, number, wrote_at)
SELECT $1, w.*, now() FROM unnest($2::text[], $3::bigint[]) AS w
ON CONFLICT (webhook, instance) DO UPDATE SET number = excluded.number, wrote_at = excluded.wrote_at"""
_FORGET_WRITERS: Final = """
DELETE FROM webhook_writers WHERE webhook = $1 AND wrote_at < now() - make_interval(secs => $2)"""

_PUT_ASIDE: Final = """
INSERT INTO webhook_dead_letters (webhook, reason, events, body, put_aside_at)
SELECT $1, l.*, now() FROM unnest($2::text[], $3::int[], $4::bytea[]) AS l"""
_LET_THE_OLDEST_GO: Final = """
DELETE FROM webhook_dead_letters WHERE webhook = $1 AND number <= (
    SELECT number FROM webhook_dead_letters WHERE webhook = $1 ORDER BY number DESC OFFSET $2 LIMIT 1)"""

_CLEAR: Final = (
    "DELETE FROM webhook_connections WHERE webhook = $1",
    "DELETE FROM webhook_writers WHERE webhook = $1",
)
_LETTERS: Final = """
SELECT number, webhook, reason, events, ''::bytea, put_aside_at FROM webhook_dead_letters ORDER BY number"""
_LETTER: Final = """
SELECT number, webhook, reason, events, body, put_aside_at FROM webhook_dead_letters WHERE number = $1"""
_REMOVE_LETTERS: Final = "DELETE FROM webhook_dead_letters WHERE number = ANY($1::bigint[])"


class WebhookProgress:
    """The progress of the webhook `name`, over a connection that holds its lock. Every method raises `StoreAway`."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    async def load(self, writers_kept_s: float) -> Stored:
        """Everything that is stored about it. Numbers of processes that have not written for `writers_kept_s` seconds
        are forgotten: the log no longer has any of their batches."""
        await self._database.execute(_FORGET_WRITERS, self._name, writers_kept_s)
        row = await self._database.fetchrow(_PROGRESS, self._name)
        if row is None:
            return Stored(Progress(), {}, {})
        rows = {found["connection"]: found["state"] for found in await self._database.fetch(_ROWS, self._name)}
        writers = {found["instance"]: found["number"] for found in await self._database.fetch(_WRITERS, self._name)}
        at = Position(row["epoch"], row["sequence"])
        return Stored(Progress(at, row["part"], row["silent_until"]), rows, writers)

    async def begin(self, progress: Progress, *, keep: bool) -> None:
        """Begins another log, or this one anew; with `keep`, what is known about connections stays."""
        async with self._database.transaction():
            for statement in () if keep else _CLEAR:
                await self._database.execute(statement, self._name)
            await self._move(progress)

    async def commit(self, progress: Progress, changes: Changes, set_aside: Sequence[SetAside] = ()) -> None:
        """Moves on to `progress`, in one transaction with what changed and what was set aside."""
        put = {name: row for name, row in changes.rows.items() if row is not None}
        gone = [name for name, row in changes.rows.items() if row is None]
        async with self._database.transaction():
            if put:
                await self._database.execute(_PUT_ROWS, self._name, list(put), list(put.values()))
            if gone:
                await self._database.execute(_REMOVE_ROWS, self._name, gone)
            if changes.writers:
                numbers = list(changes.writers), list(changes.writers.values())
                await self._database.execute(_PUT_WRITERS, self._name, *numbers)
            if set_aside:
                reasons, events, bodies = [], [], []
                for one in set_aside:
                    reasons.append(storable(one.reason))
                    events.append(one.events)
                    bodies.append(one.body)
                await self._database.execute(_PUT_ASIDE, self._name, reasons, events, bodies)
                await self._database.execute(_LET_THE_OLDEST_GO, self._name, MAX_LETTERS)
            await self._move(progress)

    async def check(self) -> None:
        """Raises `StoreAway` if the connection, and with it the lock, is gone."""
        await self._database.fetchval("SELECT 1")

    async def _move(self, progress: Progress) -> None:
        at = progress.at
        await self._database.execute(_MOVE, self._name, at.epoch, at.sequence, progress.part, progress.silent_until)


@asynccontextmanager
async def held(pool: Pool, name: str) -> AsyncIterator[WebhookProgress | None]:
    """The progress of a webhook, on which meanwhile nobody else may work; None if somebody else works on it now.

    Raises `StoreAway`, also for what happens inside.
    """
    async with pool.database() as database:  # the lock is given back with the connection
        locked = await database.fetchval(_LOCK, _LOCK_SPACE, name)
        if locked:  # these settings, too, end when the connection is given back
            await database.execute(_WATCH, str(_KEEPALIVE_S), str(_PROBES), f"{IDLE_S}s")
        yield WebhookProgress(database, name) if locked else None


class WebhookLetters:
    """What an operator does with dead letters of webhooks. Every method raises `StoreAway`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> list[WebhookLetter]:
        """All of them without their bodies, oldest first."""
        async with self._pool.database() as database:
            return [_letter(row) for row in await database.fetch(_LETTERS)]

    async def whole(self, number: int) -> WebhookLetter | None:
        """One with its body, None if it is gone."""
        async with self._pool.database() as database:
            row = await database.fetchrow(_LETTER, number)
        return None if row is None else _letter(row)

    async def delete(self, numbers: Sequence[int]) -> None:
        """Removes these for good."""
        async with self._pool.database() as database:
            await database.execute(_REMOVE_LETTERS, list(numbers))


def _letter(row: asyncpg.Record) -> WebhookLetter:
    number, webhook, reason, events, body, at = row
    return WebhookLetter(number, webhook, reason, events, body, milliseconds(at))
