"""Partitions are made before facts need them, take over what the default one has, and go when they are outlived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from proto.events import Closed, EventBatch, Opened, SessionEvent, Subscribed
from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions import partitions_postgres
from services.sessions.api.positions import PositionReader
from services.sessions.api.reader_postgres import ReadPool
from services.sessions.instruments import Instruments
from services.sessions.partitions import TIME_COLUMNS
from services.sessions.partitions_postgres import Partitions
from services.sessions.retention_postgres import Retention
from services.sessions.rows import WIDTHS
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_rows import rows_of, stays_of
from tests.sessions.database import execute, read_rows
from tests.support.eventually import eventually
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
async def pool(postgres: Postgres) -> AsyncIterator[Pool]:
    async with Pool(postgres.url, 2) as pool:
        yield pool


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


async def commit(pool: Pool, number: int, *events: SessionEvent) -> None:
    before = ORIGIN if number == 1 else Position("e", number - 1)
    batch = EventBatch("edge-1", "i1", number, list(events))
    await PostgresStore(pool, 60_000).commit(before, Position("e", number), [batch])


async def counts(postgres: Postgres, table: str) -> dict[str, int]:
    """The rows of each partition that has any."""
    database = await asyncpg.connect(postgres.url)
    try:
        rows = await database.fetch(f"SELECT tableoid::regclass::text AS name, count(*) FROM {table} GROUP BY 1")
        return {row["name"]: row["count"] for row in rows}
    finally:
        await database.close()


async def test_they_are_made_ahead_for_all_tables_and_once(postgres: Postgres, pool: Pool):
    partitions = Partitions(pool, 30 * DAY)
    made = await partitions.make(NOW)
    weeks = ("20261116", "20261123", "20261130")
    assert {name for name in made if not name.startswith("log_archive")} == {
        f"{table}_p{week}" for table in TIME_COLUMNS for week in weeks if table != "log_archive"
    }
    assert await partitions.make(NOW) == []
    await commit(pool, 1, Opened(at=ms(NOW), connection="c1"), Opened(at=ms(NOW + 3 * DAY), connection="c2"))
    assert await counts(postgres, "sessions") == {"sessions_p20261123": 1, "sessions_p20261130": 1}


async def test_rows_in_the_default_partition_move_into_a_new_one(postgres: Postgres, pool: Pool):
    await commit(
        pool,
        1,
        Opened(at=ms(NOW), connection="c1", user="ann"),
        Subscribed(at=ms(NOW), connection="c1", channel="news"),
        Opened(at=0, connection="c0"),
    )
    before = rows_of(await read_rows(postgres.url))
    assert await counts(postgres, "sessions") == {"sessions_default": 2}
    await Partitions(pool, 30 * DAY).make(NOW)
    assert await counts(postgres, "sessions") == {"sessions_default": 1, "sessions_p20261123": 1}
    assert await counts(postgres, "timeline") == {"timeline_default": 1, "timeline_p20261123": 1}
    assert rows_of(await read_rows(postgres.url)) == before


async def test_rows_that_are_written_meanwhile_move_too(postgres: Postgres, pool: Pool):
    somebody = await asyncpg.connect(postgres.url)
    writing = somebody.transaction()
    await writing.start()
    hour = NOW - 7 * DAY  # of the first partition that is made
    await somebody.execute("INSERT INTO channel_hours VALUES ('news', $1, 1, 1, 1)", hour)
    making = asyncio.create_task(Partitions(pool, 30 * DAY).make(NOW))

    async def waits() -> None:
        assert await somebody.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")

    await eventually(waits)
    await writing.commit()
    await somebody.close()
    assert "channel_hours_p20261116" in await making
    assert await counts(postgres, "channel_hours") == {"channel_hours_p20261116": 1}


async def test_outlived_ones_go_and_nothing_that_lives_is_lost(postgres: Postgres, pool: Pool):
    old, later = NOW - 20 * DAY, NOW
    for moment in (old, later):
        await Partitions(pool, 30 * DAY).make(moment)
    await commit(
        pool,
        1,
        *(Opened(at=ms(old), connection=name, user=name) for name in ("gone", "open", "late")),
        *(Subscribed(at=ms(old), connection=name, channel="news") for name in ("gone", "open", "late")),
        Closed(at=ms(old), connection="gone", code=1000),
    )
    await commit(pool, 2, Closed(at=ms(later - DAY), connection="late", code=1000))
    retention = Retention(pool, 10 * 86_400, Instruments())
    await retention.prune(later)
    rows = await read_rows(postgres.url)
    assert set(rows.sessions) == set(rows.connections) == {"open", "late"}
    assert stays_of(rows) == [("late", "news"), ("open", "news")]
    assert {entry.connection for entry in rows.timeline.values()} == {"open", "late"}
    assert {entry.number for entry in rows.timeline.values()} == {1, 2}
    assert await counts(postgres, "sessions") == {"sessions_default": 2}
    closed = ms(later - DAY)
    assert {key.at for key in rows.drops} == {closed - closed % width for width in WIDTHS}
    await commit(pool, 3, Closed(at=ms(later), connection="open", code=1000))
    assert (await read_rows(postgres.url)).sessions["open"].end_code == 1000
    await retention.prune(later + 11 * DAY)
    assert rows_of(await read_rows(postgres.url), ["sessions", "timeline"])["sessions"] == ({}, {}, {})


async def test_answers_have_another_mark_when_a_partition_has_gone(postgres: Postgres, pool: Pool):
    """Otherwise a caller's copy of the sessions in it would still be the present answer (ETag)."""
    old = NOW - 20 * DAY
    await Partitions(pool, 30 * DAY).make(old)
    await commit(pool, 1, Opened(at=ms(old), connection="gone"), Closed(at=ms(old), connection="gone", code=1000))
    async with ReadPool(postgres.url, 1) as read_pool:
        positions = PositionReader(read_pool)
        before = await positions.standing()
        assert await Retention(pool, 10 * 86_400, Instruments()).prune(NOW) == 0, "none went row by row"
        assert (await read_rows(postgres.url)).sessions == {}
        after = await positions.standing()
    assert after.position == before.position and after.mark != before.mark


async def test_one_that_many_sessions_outlive_stays_until_they_have_ended(
    postgres: Postgres, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partitions_postgres, "MOVED", 1)
    old = NOW - 20 * DAY
    await Partitions(pool, 30 * DAY).make(old)
    names = ("gone", "open", "late")
    await commit(
        pool,
        1,
        *(Opened(at=ms(old), connection=name, user=name) for name in names),
        *(Subscribed(at=ms(old), connection=name, channel="news") for name in names),
        Closed(at=ms(old), connection="gone", code=1000),
    )
    retention = Retention(pool, 10 * 86_400, Instruments())
    await retention.prune(NOW)
    rows = await read_rows(postgres.url)
    assert set(rows.sessions) == set(rows.connections) == {"open", "late"}
    assert stays_of(rows) == [("late", "news"), ("open", "news")]
    assert {entry.connection for entry in rows.timeline.values()} == {"open", "late"}
    (kept,) = await counts(postgres, "sessions")
    assert kept != "sessions_default" and await counts(postgres, "sessions") == {kept: 2}
    await commit(pool, 2, Closed(at=ms(NOW), connection="late", code=1000))
    await retention.prune(NOW + 11 * DAY)
    await retention.prune(NOW + 12 * DAY)  # what has gone out of it meanwhile is not looked for at once
    assert set((await read_rows(postgres.url)).sessions) == {"open"}
    assert await counts(postgres, "sessions") == {"sessions_default": 1}
    assert await counts(postgres, "timeline") == {"timeline_default": 1}


async def test_a_lock_that_somebody_holds_is_not_waited_for_and_nothing_is_lost(postgres: Postgres, pool: Pool):
    await Partitions(pool, 30 * DAY).make(NOW - 20 * DAY)
    await commit(pool, 1, Opened(at=ms(NOW - 20 * DAY), connection="open"))
    before = rows_of(await read_rows(postgres.url))
    retention = Retention(pool, 10 * 86_400, Instruments())
    somebody = await asyncpg.connect(postgres.url)
    async with somebody.transaction():
        await somebody.execute("LOCK TABLE timeline, sessions_default")
        with pytest.raises(StoreAway, match="lock timeout"):  # PostgreSQL locks a partition to tell its bounds
            await retention.prune(NOW)
        await retention.prepare(NOW)  # likewise, and says so
    await somebody.close()
    assert rows_of(await read_rows(postgres.url)) == before
    await execute(postgres.url, "ALTER TABLE sessions_default ADD CONSTRAINT mine CHECK (id <> 'open')")
    with pytest.raises(StoreAway, match=r'violates check constraint "mine" \(23514\)'):
        await retention.prune(NOW)
    assert rows_of(await read_rows(postgres.url), ["sessions"]) == {"sessions": before["sessions"]}
