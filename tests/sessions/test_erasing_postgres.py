"""What PostgreSQL has of users who are erased is found by their digests, and goes, as does what the process that folds
has in memory; nothing of others does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from proto.events import Closed, Erased, EventBatch, Opened, Refused, SessionEvent, Subscribed, user_digest
from services.chassis.postgres.pool import Pool
from services.sessions import resident
from services.sessions.erasing_postgres import erase, users_of
from services.sessions.instruments import Instruments
from services.sessions.projection import fold
from services.sessions.retention_postgres import Retention
from services.sessions.state import State
from services.sessions.store import ORIGIN, Outcome, Position
from services.sessions.store_postgres import PostgresStore
from services.sessions.values import lineage_of
from tests.contract.session_rows import rows_of, stays_of
from tests.sessions.database import execute, read_rows
from tests.support.eventually import eventually
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

ODD = '\\x41\\ \\\\ "Zoë" 🦆'
DAY_MS = 86_400_000

STORY: list[SessionEvent] = [
    Opened(1_000, "c1", ODD, "phone"),
    Subscribed(1_001, "c1", "news"),
    Refused(1_002, "publish", 103, connection="c1", channel="news", address="192.0.2.7"),
    Refused(1_003, "publish", 103, connection="c1", user=ODD, channel="news"),
    Closed(1_004, "c1", 1000),
    Opened(1_000, "c2", "bob"),
    Refused(1_005, "publish", 103, connection="c2", channel="news", address="192.0.2.8"),
    Refused(1_006, "connect", 103, user="only refused"),
    Refused(1_007, "connect", 103, address="192.0.2.9"),
]
ERASED: list[SessionEvent] = [
    Erased(2_000, user_digest(ODD)),
    Erased(2_000, user_digest("only refused")),
    Erased(2_000, "no digest"),
    Erased(2_000, f" {user_digest('bob')}"),
]


@pytest.mark.parametrize("at_once", [True, False], ids=["in one commit", "once it is stored"])
async def test_users_go_by_their_digests_with_refusals_of_their_connections(postgres: Postgres, at_once: bool) -> None:
    first, second = EventBatch("e", "i", 1, STORY), EventBatch("e", "i", 2, ERASED)
    async with Pool(postgres.url, 2) as pool:
        store = PostgresStore(pool, 60_000)
        if not at_once:
            await store.commit(ORIGIN, Position("e", 1), [first])
            store = PostgresStore(pool, 60_000)
        last = ORIGIN if at_once else Position("e", 1)
        await store.commit(last, Position("e", 2), [first, second] if at_once else [second])
    there = await read_rows(postgres.url)
    assert [(row.user, row.address) for row in there.refusals] == [("", "192.0.2.8"), ("", "192.0.2.9")]
    afresh = fold(State(60_000), [first, second])
    for rows in (there, afresh):
        assert set(rows.sessions) == set(rows.connections) == {"c2"}
        assert {user for user, *_ in rows.users} == {"bob"}
        assert stays_of(rows) == [] and {name for name, _ in rows.timeline} == {"c2"}
    assert there.refusals == afresh.refusals


def _in_memory(store: PostgresStore) -> str:
    rows = store._rows
    return "" if rows is None else repr([rows.sessions, rows.connections, rows.channels, rows.users, rows.timeline])


async def test_the_process_that_folds_forgets_them_too(postgres: Postgres) -> None:
    name = "a-user-of-this-test"
    story: list[SessionEvent] = [Opened(1_000, "c1", name, "phone"), Opened(1_000, "c2", "bob")]
    async with Pool(postgres.url, 2) as pool:
        store = PostgresStore(pool, 60_000)
        await store.commit(ORIGIN, Position("e", 1), [EventBatch("e", "i", 1, story)])
        assert name in _in_memory(store) and lineage_of.cache_info().currsize
        erased = EventBatch("e", "i", 2, [Erased(2_000, user_digest(name))])
        await store.commit(Position("e", 1), Position("e", 2), [erased])
        assert name not in _in_memory(store) and "bob" in _in_memory(store)
        assert not lineage_of.cache_info().currsize


async def test_a_process_that_gives_way_keeps_nobody_in_memory_and_can_take_over_again(postgres: Postgres) -> None:
    async with Pool(postgres.url, 2) as pool:
        store, other = PostgresStore(pool, 60_000), PostgresStore(pool, 60_000)
        told = [
            EventBatch("e", "i", 1, [Opened(1_000, "c1", "ann"), Opened(1_000, "c2", "bob")]),
            EventBatch("e", "i", 2, [Closed(2_000, "c1", 1006)]),
            EventBatch("e", "i", 3, [Opened(3_000, "c3", "ann")]),
        ]
        await store.commit(ORIGIN, Position("e", 1), told[:1])
        store.release()
        assert _in_memory(store) == "" and not lineage_of.cache_info().currsize
        await other.commit(Position("e", 1), Position("e", 2), told[1:2])
        assert (await store.commit(Position("e", 2), Position("e", 3), told[2:])).resumed == 1
    assert (await read_rows(postgres.url)).sessions == fold(State(60_000), told).sessions


async def test_nothing_that_is_being_erased_is_loaded_for_the_facts_that_follow(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who was away comes back while the erasure is written: what is stored still is not continued."""
    monkeypatch.setattr(resident, "KEPT_ENDED", 0)
    stories: list[list[SessionEvent]] = [
        [Opened(1_000, "c1", "ann", "phone"), Closed(2_000, "c1", 1006), Opened(1_000, "c2", "bob")],
        [Subscribed(3_000, "c2", "news")],
        [Erased(4_000, user_digest("ann"))],
        [Opened(5_000, "c3", "ann", "phone")],
    ]
    told = [EventBatch("e", "i", number, facts) for number, facts in enumerate(stories, 1)]
    async with Pool(postgres.url, 3) as pool, Pool(postgres.url, 1) as others:
        store = PostgresStore(pool, 60_000)

        def commit(number: int) -> Coroutine[Any, Any, Outcome]:
            before = Position("e", number - 1) if number > 1 else ORIGIN
            return store.commit(before, Position("e", number), [told[number - 1]])

        await commit(1)
        await commit(2)  # memory forgets the session of ann
        async with others.database() as somebody, asyncio.TaskGroup() as group, somebody.transaction():
            await somebody.execute("LOCK TABLE projections IN EXCLUSIVE MODE")
            erasing, back = group.create_task(commit(3)), group.create_task(commit(4))
            await eventually(lambda: "waiters:1" in repr(store._writing))  # the second one is as far as it comes
        assert (await erasing).events == 1 and (await back).resumed == 0
    there = await read_rows(postgres.url)
    assert set(there.sessions) == {"c2", "c3"}
    assert rows_of(there) == rows_of(fold(State(60_000), told))


async def test_who_is_meant_is_known_as_long_as_a_session_is_kept(postgres: Postgres) -> None:
    """Partitions go as a whole, so some sessions are kept for longer than it would take to forget the device."""
    events: list[SessionEvent] = [
        Opened(1_000, "c1", ODD, "phone"),
        Subscribed(1_001, "c1", f"#{ODD}"),
        Closed(2_000, "c1", 1000),
    ]
    async with Pool(postgres.url, 2) as pool:
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 1), [EventBatch("e", "i", 1, events)])
        for table in ("sessions", "connections", "subscriptions", "timeline", "channel_hours", "channel_days"):
            await execute(
                postgres.url,
                f"ALTER TABLE {table} DETACH PARTITION {table}_default",
                f"ALTER TABLE {table}_default RENAME TO {table}_of_then",
                f"ALTER TABLE {table} ATTACH PARTITION {table}_of_then DEFAULT",
                f"CREATE TABLE {table}_default (LIKE {table})",
            )
        await Retention(pool, 7 * 86_400, Instruments()).prune(datetime(1970, 1, 11, tzinfo=UTC))
        there = await read_rows(postgres.url)
        assert set(there.sessions) == {"c1"} and set(there.channels) == {f"#{ODD}"}
        async with pool.database() as database:
            assert await users_of(database, [user_digest(ODD), user_digest("bob")]) == {ODD: user_digest(ODD)}
            await erase(database, [(user_digest(ODD), DAY_MS)])
        assert (await read_rows(postgres.url)).sessions == {}
