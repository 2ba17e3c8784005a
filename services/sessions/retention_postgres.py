"""Makes partitions ahead of time, and removes rows that are older than the operator wants to keep: whole partitions,
and row by row in default partitions and in tables without partitions."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from proto.events import LOG_MAX_AGE_S
from services.chassis.postgres.pool import Database, Pool
from services.sessions.instruments import Instruments
from services.sessions.partitions import TIME_COLUMNS
from services.sessions.partitions_postgres import Partitions
from services.sessions.projection import NAME
from services.sessions.rebuilding.beside_postgres import remove_left_behind
from services.sessions.statements import RUNS
from services.sessions.store import StoreAway

log = logging.getLogger(__name__)

_INTERVAL_S: Final = 300.0
_CLOCKS_AGREE: Final = timedelta(hours=1)
_PORTION: Final = 5_000  # rows in one transaction, which stays short enough not to block others
_KEYS: Final = 1_000  # sessions, or connections, whose parts are removed at once

OLD_SESSIONS: Final = """
SELECT id FROM sessions_default WHERE opened_at < $1 AND ended_at < $1 ORDER BY opened_at LIMIT $2"""
CONNECTIONS_OF: Final = "SELECT id FROM connections WHERE session_id = ANY($1::text[]) LIMIT $2"
REMOVE_PARTS: Final = (
    "DELETE FROM timeline WHERE connection = ANY($1::text[])",
    "DELETE FROM subscriptions WHERE connection = ANY($1::text[])",
    "DELETE FROM connections WHERE id = ANY($1::text[])",
)
REMOVE_SESSIONS: Final = "DELETE FROM sessions_default WHERE id = ANY($1::text[]) AND ended_at < $2"
"""All of these use a few keys at a time: joins would read all partitions of a table from beginning to end."""

# Answers that had removed rows must not count as unchanged (`api.positions`).
_TOUCH: Final = "UPDATE projections SET name = name WHERE name = $1"

OLD: Final = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} t WHERE {old} LIMIT $2))"

_COUNTED: Final = (
    *("channel_hours", "channel_days", "drops", "drop_codes", "drop_versions"),
    *("openings", "opening_versions", "refusal_counts", "refusals"),
)
ROWS: Final = (
    *((f"{table}_default", f"{TIME_COLUMNS[table]} < $1") for table in _COUNTED),
    ("timeline_default", "at < $1 AND NOT EXISTS (SELECT 1 FROM connections c WHERE c.id = t.connection OFFSET 0)"),
    (
        "connections_default",
        "opened_at < $1 AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session_id OFFSET 0)",
    ),
    (
        "subscriptions_default",
        "opened_at < $1 AND NOT EXISTS (SELECT 1 FROM connections c WHERE c.id = t.connection OFFSET 0)",
    ),
    # An erasure finds users and their channels in these two tables: their rows stay as long as other rows name them.
    (
        "user_devices",
        "last_seen < $1 AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = t.user_id AND (s.ended_at IS NULL "
        "OR (s.session_key, s.client_name, s.client_version) = (t.session_key, t.client_name, t.client_version)) "
        "OFFSET 0)",
    ),
    (
        "channels",
        "last_at < $1 AND subscribers = 0 AND NOT EXISTS (SELECT 1 FROM channel_hours h WHERE h.channel = t.name "
        "OFFSET 0) AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.channel = t.name OFFSET 0)",
    ),
    (
        "edges",
        f"last_at < $1 AND NOT ({RUNS}) AND NOT EXISTS "
        "(SELECT 1 FROM connections c WHERE c.instance = t.instance AND c.closed_at IS NULL OFFSET 0)",
    ),
    ("heard_edges", "heard_at < $1"),
    # A writer's number is needed while its batches may be in the log, which is never longer than what is kept.
    ("log_writers", "wrote_at < $1"),
    ("dead_letters", "put_aside_at < $1"),
    ("webhook_dead_letters", "put_aside_at < $1"),
    ("overtaken_messages", "noticed_at < $1"),
)
"""Tables, and which of their rows are removed. Rows of living sessions stay, and so do erasures. OFFSET 0 makes
PostgreSQL look up rows of the other table by key: without it, it may read all of that table for a few rows."""

_ARCHIVED: Final = ("log_archive_default", "stored_at < $1")
_STANDING_IN: Final = """
DELETE FROM log_archive WHERE (epoch, sequence, stored_at) IN (
    SELECT epoch, sequence, stored_at FROM log_archive WHERE stands_in AND stored_at < $1 LIMIT $2)"""


_ERASED_CONNECTIONS: Final = ("erased_connections", "at < $1")


class Retention:
    """Removes sessions that ended more than `keep_s` seconds ago, and archived messages that are older than
    `archive_keep_s`; 0 keeps them for ever. Messages that are archived only because an erasure has rewritten them are
    removed after `log_max_age_s`, as the log would have dropped them. The connections of erased users are remembered
    for `facts_kept_s`; 0: for ever."""

    def __init__(
        self,
        pool: Pool,
        keep_s: float,
        instruments: Instruments,
        archive_keep_s: float = 0,
        log_max_age_s: float = LOG_MAX_AGE_S,
        facts_kept_s: float = LOG_MAX_AGE_S,
    ) -> None:
        self._pool = pool
        self._facts_kept_s = facts_kept_s
        self._log_max_age_s = log_max_age_s
        self._keep_s = keep_s
        self._archive_keep_s = archive_keep_s
        self._instruments = instruments
        self._partitions = Partitions(pool, timedelta(seconds=keep_s), timedelta(seconds=archive_keep_s))

    async def run(self) -> None:
        """Makes missing partitions and removes old rows, every five minutes, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.tend(datetime.now(UTC))

    async def tend(self, now: datetime) -> None:
        """Does this once. If the clocks of this machine and of PostgreSQL differ too much, nothing is removed."""
        await self.prepare(now)
        await self._remove_left_behind()
        try:
            async with self._pool.database() as database:
                theirs: datetime = await database.fetchval("SELECT now()")
            if abs(theirs - now) <= _CLOCKS_AGREE:
                await self.prune(now)
            else:
                log.error(
                    "no old sessions are removed: it is %s here, and %s by the clock of PostgreSQL",
                    now.isoformat(timespec="seconds"),
                    theirs.isoformat(timespec="seconds"),
                )
        except StoreAway as error:
            log.warning("cannot remove old sessions now: %s", error)

    async def prepare(self, now: datetime) -> None:
        """Makes the partitions for facts of `now` and of later. If that fails now, it is done later: until then the
        default partition takes the facts."""
        try:
            await self._partitions.make(now)
        except StoreAway as error:
            log.warning("cannot make partitions now: %s", error)

    async def _remove_left_behind(self) -> None:
        """Removes the tables of a rebuild that was killed, as they may have data of an erased user."""
        try:
            async with self._pool.database() as database:
                removed = await remove_left_behind(database)
        except StoreAway as error:
            log.warning("cannot remove the tables of a rebuild that was killed: %s", error)
            return
        if removed:
            log.info("removed the tables of %d rebuilds or comparisons that were killed", removed)

    async def prune(self, now: datetime) -> int:
        """Removes what is old enough at `now`. Returns how many sessions went row by row. Raises `StoreAway`."""
        dropped = await self._partitions.drop(now)
        removed = 0
        async with self._pool.database() as database:
            if self._archive_keep_s:
                await _remove(database, *_ARCHIVED, now - timedelta(seconds=self._archive_keep_s))
            await _repeat(database, _STANDING_IN, now - timedelta(seconds=self._log_max_age_s))
            if self._facts_kept_s:
                await _remove(database, *_ERASED_CONNECTIONS, now - timedelta(seconds=self._facts_kept_s))
            if not self._keep_s:
                return 0
            if dropped:
                await database.execute(_TOUCH, NAME)
            before = now - timedelta(seconds=self._keep_s)
            while True:
                count = await _remove_sessions(database, before)
                removed += count
                self._instruments.pruned.inc(count)
                if count:
                    await database.execute(_TOUCH, NAME)
                if count < _KEYS:
                    break
            for table, old in ROWS:
                await _remove(database, table, old, before)
        if removed:
            log.info("removed %d sessions that ended before %s", removed, before.isoformat(timespec="seconds"))
        return removed


async def _remove_sessions(database: Database, before: datetime) -> int:
    """Removes some of the sessions that are old enough, after all that belongs to them. Returns how many."""
    sessions = [row["id"] for row in await database.fetch(OLD_SESSIONS, before, _KEYS)]
    while sessions:
        connections = [row["id"] for row in await database.fetch(CONNECTIONS_OF, sessions, _KEYS)]
        if connections:
            async with database.transaction():
                for statement in REMOVE_PARTS:
                    await database.execute(statement, connections)
        if len(connections) < _KEYS:
            break
    if sessions:
        await database.execute(REMOVE_SESSIONS, sessions, before)
    return len(sessions)


async def _remove(database: Database, table: str, old: str, before: datetime) -> None:
    await _repeat(database, OLD.format(table=table, old=old), before)


async def _repeat(database: Database, statement: str, before: datetime) -> None:
    while True:
        done = await database.execute(statement, before, _PORTION)
        if int(done.rpartition(" ")[2]) < _PORTION:
            return
