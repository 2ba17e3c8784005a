"""Sessions that ended long ago go, with all that belongs to them; open ones stay however old they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from proto.events import Closed, EdgeStarted, EdgeStopped, EventBatch, Opened, SessionEvent, Subscribed
from services.chassis.postgres.pool import Pool
from services.sessions.api.positions import PositionReader
from services.sessions.api.reader_postgres import ReadPool
from services.sessions.entries import Entry
from services.sessions.instruments import Instruments
from services.sessions.log_archive_postgres import archive
from services.sessions.privacy.archive_postgres import Archive
from services.sessions.privacy.progress import unwatched
from services.sessions.retention_postgres import Retention
from services.sessions.store import ORIGIN, Position, StoreAway
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_rows import stays_of
from tests.sessions.database import execute, read_archive, read_rows
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000
DAY_S = 86_400.0


async def test_a_removal_changes_the_mark_of_all_answers(postgres: Postgres):
    events: list[SessionEvent] = [Opened(at=0, connection="old"), Closed(at=1, connection="old", code=1000)]
    async with Pool(postgres.url, 2) as pool, ReadPool(postgres.url, 1) as read_pool:
        await PostgresStore(pool, 1000).commit(ORIGIN, Position("e", 1), [EventBatch("edge-1", "i", 1, events)])
        positions = PositionReader(read_pool)
        before = await positions.standing()
        assert await Retention(pool, 3600, Instruments()).prune(datetime.now(UTC)) == 1
        after = await positions.standing()
        assert after.position == before.position and after.mark != before.mark
        assert await Retention(pool, 3600, Instruments()).prune(datetime.now(UTC)) == 0
        assert await positions.standing() == after


async def test_old_ended_sessions_go_with_their_parts(postgres: Postgres):
    events: list[SessionEvent] = [
        Opened(at=0, connection="old", user="ann"),
        Subscribed(at=0, connection="old", channel="news"),
        Closed(at=1, connection="old", code=1000),
        Opened(at=0, connection="late", user="bob"),
        Closed(at=9 * DAY_MS, connection="late", code=1000),
        Opened(at=0, connection="open", user="eve"),
        Subscribed(at=0, connection="open", channel="news"),
    ]
    async with Pool(postgres.url, 1) as pool:
        batch = EventBatch(edge="e", instance="i1", number=1, events=events)
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 1), [batch])
        retention = Retention(pool, 7 * 86_400, Instruments())
        assert await retention.prune(datetime(1970, 1, 11, tzinfo=UTC)) == 1
        assert await PostgresStore(pool, 60_000).last_number("i1") == 1, "its writer wrote a moment ago"
    kept = await read_rows(postgres.url)
    assert set(kept.sessions) == set(kept.connections) == {"late", "open"}
    assert stays_of(kept) == [("open", "news")]


async def test_a_clock_that_is_wrong_removes_nothing(postgres: Postgres, caplog: pytest.LogCaptureFixture):
    events: list[SessionEvent] = [Opened(at=0, connection="old"), Closed(at=1, connection="old", code=1000)]
    async with Pool(postgres.url, 1) as pool:
        await PostgresStore(pool, 1000).commit(ORIGIN, Position("e", 1), [EventBatch("edge-1", "i", 1, events)])
        retention = Retention(pool, 7 * 86_400, Instruments())
        now = datetime.now(UTC)
        await retention.tend(now + timedelta(days=400))
        assert set((await read_rows(postgres.url)).sessions) == {"old"}
        assert "by the clock of PostgreSQL" in caplog.text
        await retention.tend(now)
    assert (await read_rows(postgres.url)).sessions == {}


@pytest.mark.parametrize("keep", [0, 7 * 86_400])
async def test_a_message_that_an_erasure_rewrote_goes_when_the_log_would_have_let_it_go(
    postgres: Postgres, keep: int
) -> None:
    now = datetime.now(UTC)
    old, new = (int((now - timedelta(hours=hours)).timestamp() * 1000) for hours in (2, 0))
    async with Pool(postgres.url, 2) as pool:
        archived = Entry(3, b"archived", "i", None, stored_at=old)
        async with pool.database() as database:
            await archive(database, "e", [archived])
        for sequence, stored_at in ((1, old), (2, new), (3, old)):
            await Archive(pool, unwatched).put("e", sequence, stored_at, "i", b"rewritten")
        await Retention(pool, keep, Instruments(), log_max_age_s=3600).prune(now)
    assert await read_archive(postgres.url) == {("e", 2): b"rewritten", ("e", 3): b"rewritten"}


async def test_which_connections_were_of_an_erased_user_is_known_while_the_log_may_tell_of_them(postgres: Postgres):
    now = datetime.now(UTC)
    row = "INSERT INTO erased_connections VALUES ('of ann', 'x', now() - interval '2 days')"
    await execute(postgres.url, row)
    async with Pool(postgres.url, 1) as pool:
        for kept_s, left in ((0.0, 1), (3 * DAY_S, 1), (DAY_S, 0)):
            await Retention(pool, 0, Instruments(), facts_kept_s=kept_s).prune(now)
            async with pool.database() as database:
                assert await database.fetchval("SELECT count(*) FROM erased_connections") == left


@pytest.mark.parametrize(("keep_s", "left"), [(0.0, 2), (DAY_S, 1)], ids=["for ever", "a day"])
async def test_dead_letters_which_may_name_users_go_after_the_time_too(postgres: Postgres, keep_s: float, left: int):
    for number, ago in ((1, "2 days"), (2, "1 hour")):
        at = f"now() - interval '{ago}'"
        await execute(
            postgres.url,
            f"INSERT INTO dead_letters VALUES ('e', {number}, 'i', 'why', 'ann', 3, {at})",
            "INSERT INTO webhook_dead_letters (webhook, reason, events, body, put_aside_at) "
            f"VALUES ('w', 'why', 1, 'ann', {at})",
        )
    async with Pool(postgres.url, 1) as pool:
        await Retention(pool, keep_s, Instruments()).prune(datetime.now(UTC))
        async with pool.database() as database:
            for table in ("dead_letters", "webhook_dead_letters"):
                assert await database.fetchval(f"SELECT count(*) FROM {table}") == left, table


async def test_an_edge_that_runs_stays_however_long_it_is_idle(postgres: Postgres):
    runs: dict[str, list[SessionEvent]] = {
        "idle": [EdgeStarted(at=0, software="1.0.0")],
        "stopped": [EdgeStarted(at=0), EdgeStopped(at=1)],
        "older": [Opened(at=0, connection="old"), Closed(at=1, connection="old", code=1000)],
    }
    async with Pool(postgres.url, 1) as pool:
        batches = [EventBatch("edge-1", instance, 1, events) for instance, events in runs.items()]
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 1), batches)
        await Retention(pool, 7 * 86_400, Instruments()).prune(datetime(1970, 1, 11, tzinfo=UTC))
    (kept,) = (await read_rows(postgres.url)).edges.values()
    assert (kept.instance, kept.software) == ("idle", "1.0.0")


async def test_a_table_of_others_that_holds_old_sessions_ends_nothing_else(postgres: Postgres):
    events: list[SessionEvent] = [Opened(at=0, connection="old"), Closed(at=1, connection="old", code=1000)]
    async with Pool(postgres.url, 2) as pool:
        batch = EventBatch(edge="e", instance="i1", number=1, events=events)
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 1), [batch])
        await execute(
            postgres.url,
            "CREATE TABLE report (id text, opened_at timestamptz, FOREIGN KEY (id, opened_at) REFERENCES sessions)",
            "INSERT INTO report SELECT id, opened_at FROM sessions",
        )
        with pytest.raises(StoreAway, match=r'on table "report" \(23503\): the tables refuse it'):
            await Retention(pool, 7 * 86_400, Instruments()).prune(datetime(1970, 1, 11, tzinfo=UTC))
    assert set((await read_rows(postgres.url)).sessions) == {"old"}
