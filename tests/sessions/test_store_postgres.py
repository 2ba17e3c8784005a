"""The store in PostgreSQL: the contract, and a database that others write to, stop and cut off."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from proto.events import (
    Closed,
    EdgeFound,
    EdgeLost,
    Erased,
    EventBatch,
    Opened,
    SessionEvent,
    Subscribed,
    Unsubscribed,
    user_digest,
)
from services.chassis.postgres.pool import Pool
from services.sessions import dead_letters_postgres, resident
from services.sessions.entries import DeadLetter, Entry
from services.sessions.loading_postgres import load_living
from services.sessions.projection import NAMES, fold
from services.sessions.rebuilding.model_tables import ALL, tables_of
from services.sessions.resident import Resident
from services.sessions.rows import HOUR_MS
from services.sessions.state import State
from services.sessions.store import ORIGIN, FactsRefused, Outcome, Position, PositionConflict, Store, StoreAway
from services.sessions.store_postgres import PostgresStore
from services.sessions.values import WATCH_WRITER
from tests.contract.session_rows import rows_of, stays_of, subscriptions_of
from tests.contract.session_store import StoreContract, batch
from tests.sessions.database import execute, read_archive, read_letters, read_rows
from tests.sessions.rebuilding.shop import day
from tests.sessions.stories import WINDOW_MS, long_story, split
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


@asynccontextmanager
async def store_on(postgres: Postgres, max_resident: int = 1_000) -> AsyncIterator[PostgresStore]:
    async with Pool(postgres.url, 4) as pool:
        yield PostgresStore(pool, WINDOW_MS, max_resident=max_resident)


@pytest.fixture
async def postgres_store(postgres: Postgres) -> AsyncIterator[PostgresStore]:
    async with store_on(postgres) as store:
        yield store


async def added(postgres: Postgres, query: str) -> list[tuple[object, ...]]:
    database = await asyncpg.connect(postgres.url)
    try:
        return [tuple(row) for row in await database.fetch(query)]
    finally:
        await database.close()


async def test_all_models_move_together(postgres: Postgres, postgres_store: PostgresStore):
    await postgres_store.commit(ORIGIN, Position("e", 3), [])
    assert await added(postgres, "SELECT DISTINCT epoch, sequence, moved_at IS NOT NULL FROM projections") == [
        ("e", 3, True)
    ]
    assert {name for (name,) in await added(postgres, "SELECT name FROM projections")} == set(NAMES.values())


async def test_a_connection_that_memory_has_forgotten_is_not_opened_once_more(postgres: Postgres):
    batches = [
        batch(1, Opened(1_000, "c1", "ann"), Subscribed(1_000, "c1", "news")),
        batch(1, Opened(2_000, "c1", "ben"), Opened(2_000, "c2", "eve"), Closed(3_000, "c1", 1000), instance="i2"),
        batch(2, Opened(3_000, "c1", "ann"), Opened(3_000, "c3", "joe"), instance="i2"),
    ]
    async with store_on(postgres, max_resident=0) as store:  # it begins anew with each commit
        for number, one in enumerate(batches):
            await store.commit(Position("e", number) if number else ORIGIN, Position("e", number + 1), [one])
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), batches))


class TestPostgresStore(StoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        self.postgres: Postgres = self.request.getfixturevalue("postgres")
        async with store_on(self.postgres) as store:
            yield store

    async def rows(self, store: Store) -> State:
        return await read_rows(self.postgres.url)

    async def letters(self, store: Store) -> list[DeadLetter]:
        return await read_letters(self.postgres.url)

    async def archive(self, store: Store) -> dict[tuple[str, int], bytes]:
        return await read_archive(self.postgres.url)


async def committed(
    store: Store, at: Position, upto: Position, batches: list[EventBatch], before: asyncio.Task[Outcome] | None
) -> Outcome:
    """Commits, at once or after the commit `before` this one, if that had to begin again."""
    try:
        return await store.commit(at, upto, batches)
    except PositionConflict:
        assert before is not None
        await before
        return await store.commit(at, upto, batches)


@pytest.mark.parametrize(
    ("seed", "how", "kept"),
    [
        (seed, how, kept)
        for seed, (how, kept) in enumerate(
            itertools.product(["in turn", "without memory", "by two stores", "at once"], [0, 3, 20_000])
        )
    ],
)
async def test_whatever_is_in_memory_the_rows_are_the_fold_over_everything(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, seed: int, how: str, kept: int
):
    """Commits by two stores on one database void each other's memory; of commits that are begun at once, one is folded
    while the one before it is written. Each way has a story of its own."""
    monkeypatch.setattr(resident, "KEPT_ENDED", kept)
    monkeypatch.setattr(resident, "KEPT_CONNECTIONS", kept)
    async with store_on(postgres, 0 if how == "without memory" else 1_000) as one, store_on(postgres) as other:
        batches, chance = long_story(seed), random.Random(seed)
        at, begun = ORIGIN, list[asyncio.Task[Outcome]]()
        stretches = split(batches, [chance.randint(0, 40) for _ in range(80)])
        stores = [one, other if how == "by two stores" else one]
        for store, stretch in zip(itertools.cycle(stores), stretches, strict=False):
            upto = Position("e", at.sequence + len(stretch))
            before = begun[-1] if begun else None
            begun.append(asyncio.create_task(committed(store, at, upto, stretch, before)))
            if how != "at once":
                await begun[-1]
            at = upto
        await asyncio.gather(*begun)
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), batches))


async def test_peaks_are_right_if_the_service_is_restarted_between_the_end_of_an_edge_and_its_loss(postgres: Postgres):
    killed = 24 * HOUR_MS - 1_200
    batches = [
        EventBatch("edge-1", "i1", 1, [one for n in range(4) for one in entered(f"c{n}", killed - 9_000 + n)]),
        EventBatch("edge-2", "i2", 1, [one for n in range(4) for one in entered(f"d{n}", killed + 350 * (n + 1))]),
        EventBatch("", WATCH_WRITER, 1, [EdgeLost(at=killed, instance="i1")]),
        EventBatch("edge-2", "i2", 2, entered("e", killed + 9_000)),
    ]
    for number, each in enumerate(batches):
        async with store_on(postgres) as store:
            await store.commit(Position("e", number) if number else ORIGIN, Position("e", number + 1), [each])
    kept = await read_rows(postgres.url)
    assert rows_of(kept) == rows_of(fold(State(WINDOW_MS), batches))
    assert (kept.channels["news"].peak, kept.channels["news"].peak_at) == (5, killed + 9_000)
    assert [(row.peak, row.last) for _, row in sorted(kept.channel_hours.items())] == [(4, 3), (5, 5)]


def entered(connection: str, at: int) -> list[SessionEvent]:
    return [Opened(at=at, connection=connection, user="ann"), Subscribed(at=at, connection=connection, channel="news")]


async def test_a_commit_that_is_folded_upon_one_that_fails_is_void(postgres: Postgres, postgres_store: PostgresStore):
    opened = batch(1, Opened(at=1, connection="c1", user="ann"))
    await postgres_store.commit(ORIGIN, Position("e", 1), [opened])
    await execute(postgres.url, "ALTER TABLE timeline ADD CHECK (number <> 2)")
    bad = batch(2, Subscribed(at=2, connection="c1", channel="news"))
    good = batch(3, Subscribed(at=3, connection="c1", channel="others"))
    tries = await asyncio.gather(
        postgres_store.commit(Position("e", 1), Position("e", 2), [bad]),
        postgres_store.commit(Position("e", 2), Position("e", 3), [good]),
        return_exceptions=True,
    )
    assert [type(each) for each in tries] == [FactsRefused, PositionConflict]
    await postgres_store.commit(Position("e", 1), Position("e", 3), [good])
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), [opened, good]))


async def test_a_letter_that_another_process_replays_voids_what_is_in_memory(
    postgres: Postgres, postgres_store: PostgresStore
):
    letter = DeadLetter("e", 1, "i1", "because", b"bytes", 5)
    opened = batch(1, Opened(at=1, connection="c1", user="ann"))
    late = batch(2, Closed(at=2, connection="c1", code=1006))
    back = batch(3, Opened(at=3, connection="c2", user="ann"))
    await postgres_store.commit(ORIGIN, Position("e", 1), [opened], None, [letter])
    async with Pool(postgres.url, 1) as pool:
        assert await PostgresStore(pool, WINDOW_MS).replay(letter, late) == Outcome(1, interrupted=1)
    assert await postgres_store.commit(Position("e", 1), Position("e", 2), [back]) == Outcome(1, resumed=1)
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), [opened, late, back]))


async def test_two_writers_at_once_apply_a_batch_once(postgres_store: PostgresStore):
    upto = Position("epoch", 1)
    one = batch(1, *(Opened(at=n, connection=f"c{n}", user="ann") for n in range(500)))
    tries = await asyncio.gather(
        *(postgres_store.commit(ORIGIN, upto, [one]) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in tries) == ["Outcome", *["PositionConflict"] * 3]


WRITTEN = (*(table.name for table in tables_of(ALL)), "dead_letters", "log_archive", "log_writers", "projections")

CUT_OFF = (
    "CREATE SEQUENCE cut_{table}",
    """CREATE FUNCTION cut_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('cut_{table}') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
        RETURN NULL;
    END $$""",
    "CREATE TRIGGER cut AFTER {write} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION cut_{table}()",
)
"""PostgreSQL ends the connection that first writes to a table, as a crash would. (A sequence is not rolled back.)"""


async def test_a_crash_at_any_statement_leaves_neither_rows_nor_position(
    postgres: Postgres, postgres_store: PostgresStore
):
    for table in WRITTEN:
        write = "UPDATE OF sequence" if table == "projections" else "INSERT OR UPDATE"  # not when it is locked
        await execute(postgres.url, *(each.format(table=table, write=write) for each in CUT_OFF))
    told = [EventBatch("edge", "i1", number, facts) for number, facts in enumerate(day("d1", 1_000_000), 1)]
    letter, entry = DeadLetter("e", 1, "i1", "because", b"bytes", 5), Entry(1, b"bytes", "i1", None, stored_at=1)
    empty, crashes = rows_of(State(WINDOW_MS)), 0
    while True:
        try:
            await postgres_store.commit(ORIGIN, Position("e", 1), told, None, [letter], [entry])
        except StoreAway:
            crashes += 1
        else:
            break
        assert await postgres_store.position() == ORIGIN
        assert rows_of(await read_rows(postgres.url)) == empty
        assert (await read_letters(postgres.url), await read_archive(postgres.url)) == ([], {})
    assert crashes == len(WRITTEN), "it was cut off at each of them"
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), told))
    assert await postgres_store.position() == Position("e", 1)
    assert (len(await read_letters(postgres.url)), len(await read_archive(postgres.url))) == (1, 1)


async def test_a_row_that_somebody_put_in_by_hand_is_overwritten(postgres: Postgres, postgres_store: PostgresStore):
    opened = batch(1, Opened(at=1, connection="c1", user="ann"), Subscribed(at=2, connection="c1", channel="news"))
    database = await asyncpg.connect(postgres.url)
    await database.execute(
        "INSERT INTO subscriptions VALUES ('c1', 'news', to_timestamp(0.001), to_timestamp(0.002), NULL, true)"
    )
    await database.close()
    assert (await postgres_store.commit(ORIGIN, Position("e", 1), [opened])).events == 2
    rows, wanted = await read_rows(postgres.url), fold(State(WINDOW_MS), [opened])
    assert (rows.connections, subscriptions_of(rows)) == (wanted.connections, subscriptions_of(wanted))


async def test_postgres_that_is_away_is_said_to_be_away(postgres: Postgres, postgres_store: PostgresStore):
    await postgres_store.position()
    postgres.stop()
    with pytest.raises(StoreAway, match="PostgreSQL"):
        await postgres_store.position()
    postgres.start()
    assert await postgres_store.position() == ORIGIN


async def test_text_that_no_column_holds_is_stored_all_the_same(postgres: Postgres, postgres_store: PostgresStore):
    wild = "\0" + "\U0001f600" * 5_000
    events: list[SessionEvent] = [
        Opened(at=2**62, connection=wild, user=wild, session_key=wild),
        Closed(at=-5, connection=wild, code=9**9),
    ]
    await postgres_store.commit(ORIGIN, Position("e", 1), [batch(2**62, *events, instance=wild)])
    (session,) = (await read_rows(postgres.url)).sessions.values()
    assert session.user.startswith("\ufffd\U0001f600")


async def test_facts_that_a_table_refuses_are_told_apart_from_a_database_that_does(
    postgres: Postgres, postgres_store: PostgresStore
):
    await execute(postgres.url, "ALTER TABLE sessions ADD CHECK (user_id <> 'ann')")
    one = batch(1, Opened(at=1, connection="c1", user="ann"))
    with pytest.raises(FactsRefused, match=r"violates check constraint .* \(23514\)"):
        await postgres_store.commit(ORIGIN, Position("e", 1), [one])
    await execute(postgres.url, "ALTER TABLE sessions RENAME TO elsewhere")
    with pytest.raises(StoreAway, match=r'"sessions" does not exist \(42P01\): the tables are not as'):
        await postgres_store.commit(ORIGIN, Position("e", 1), [one])
    assert await postgres_store.position() == ORIGIN


async def test_the_oldest_letters_go_when_there_are_too_many(
    postgres: Postgres, postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dead_letters_postgres, "MAX_LETTERS", 3)
    at = ORIGIN
    for last in (2, 5):
        letters = [DeadLetter("e", n, "i1", "no batch", b"x", 1) for n in range(at.sequence + 1, last + 1)]
        await postgres_store.commit(at, Position("e", last), [], None, letters)
        at = Position("e", last)
    assert [each.sequence for each in await read_letters(postgres.url)] == [3, 4, 5]


@pytest.mark.parametrize("table", ["sessions", "connections", "subscriptions", "log_writers", "projections"])
async def test_rows_that_somebody_deleted_are_unknown_facts_at_most(
    postgres: Postgres, postgres_store: PostgresStore, table: str
):
    """At every point of a client's life."""
    life: list[SessionEvent] = [
        Opened(at=1_000, connection="c1", user="ann"),
        Subscribed(at=1_001, connection="c1", channel="news"),
        EdgeLost(at=1_002, instance="i1"),
        EdgeFound(at=1_003, instance="i1"),
        Unsubscribed(at=1_004, connection="c1", channel="news"),
        Closed(at=1_005, connection="c1", code=1006),
        Opened(at=1_006, connection="c2", user="ann"),
        Closed(at=1_007, connection="c2", code=1000),
    ]
    unknown = 0
    for gone in range(1, len(life)):
        await execute(postgres.url, "TRUNCATE sessions, connections, subscriptions, log_writers, projections")
        first = Position("e", gone)
        await postgres_store.commit(ORIGIN, first, [batch(n, event) for n, event in enumerate(life[:gone], 1)])
        await execute(postgres.url, f"DELETE FROM {table}")
        await execute(postgres.url, "UPDATE projections SET generation = generation + 1")  # what is in memory is void
        at = await postgres_store.position()
        if table == "projections":
            with pytest.raises(PositionConflict):
                await postgres_store.commit(first, Position("e", 99), [])
        rest = [batch(n, event) for n, event in enumerate(life[gone:], gone + 1)]
        outcome = await postgres_store.commit(at, Position("e", 99), rest)
        assert outcome.events == len(rest)
        unknown += outcome.unknown
        assert await postgres_store.open_instances() == set(), "what is left of it has ended"
    assert (unknown > 0) == (table in ("sessions", "connections"))


async def test_a_session_of_the_future_does_not_hide_those_of_the_present(postgres: Postgres):
    """Otherwise each commit would have to ask for sessions that may be continued."""
    now = int(time.time() * 1000)
    async with store_on(postgres) as store:
        events: list[SessionEvent] = [Opened(at=at, connection=f"c{at}", user="ann") for at in (now, now + 2**40)]
        await store.commit(ORIGIN, Position("e", 1), [batch(1, *events)])
        rows = Resident(WINDOW_MS)
        async with store._pool.database() as database:
            assert await load_living(database, rows, 10)
    assert set(rows.sessions) == {f"c{event.at}" for event in events}
    assert rows.opened_since <= now and rows.away_since <= now


async def test_a_session_that_goes_on_is_loaded_without_the_connections_that_are_over(postgres: Postgres):
    async with store_on(postgres) as store:
        hour = 3_600_000
        events: list[SessionEvent] = []
        for number in range(5):
            events += [
                Opened(at=number * hour, connection=f"c{number}", user="ann"),
                Subscribed(at=number * hour, connection=f"c{number}", channel="news"),
                Closed(at=(number + 1) * hour - 1, connection=f"c{number}", code=1006),
            ]
        await store.commit(ORIGIN, Position("e", 1), [batch(1, *events[:-1], Opened(4 * hour, "c5", "bob"))])
        rows = Resident(WINDOW_MS)
        async with store._pool.database() as database:
            assert await load_living(database, rows, 10)
        assert set(rows.sessions) == {"c0", "c5"}
        assert set(rows.connections) == {"c4", "c5"}
        assert stays_of(rows) == [("c4", "news")]


async def test_a_session_of_which_memory_has_a_part_is_absorbed_and_erased_whole(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resident, "KEPT_CONNECTIONS", 0)
    told = [
        batch(1, Opened(1_000, "a1", "ann"), instance="i2"),
        batch(1, Opened(5_000, "b1", "ann"), Subscribed(5_001, "b1", "news"), Closed(6_000, "b1", 1006)),
        batch(2, Opened(7_000, "b2", "ann"), Closed(8_000, "b2", 1006), Opened(9_000, "b3", "ann")),
        batch(3, Opened(9_001, "c1", "bob")),
        batch(4, Opened(9_002, "c2", "bob")),
        batch(2, Closed(4_000, "a1", 1006), instance="i2"),  # late: b1 continued a1
        batch(5, Unsubscribed(5_002, "b1", "news"), Opened(9_003, "b2", "ann")),
    ]
    erased = batch(6, Erased(3_000, user_digest("ann")))  # by a clock that is slow
    async with store_on(postgres) as store:
        for number, one in enumerate(told):
            await store.commit(Position("e", number) if number else ORIGIN, Position("e", number + 1), [one])
            if number == 4:
                assert store._rows is not None and "b1" not in store._rows.connections
        assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), told))
        for number in range(len(told), len(told) + 5):  # it is forgotten again
            one = batch(number + 10, Opened(9_100 + number, f"d{number}", "eve"))
            told.append(one)
            await store.commit(Position("e", number), Position("e", number + 1), [one])
        told.append(EventBatch("edge-i1", "i1", 99, erased.events))
        await store.commit(Position("e", len(told) - 1), Position("e", len(told)), told[-1:])
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), told))
