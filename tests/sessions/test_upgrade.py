"""A database of an older version is migrated: its rows stay. Of the read models of 0004, those that can be filled from
them are as if their facts were folded, and the fold goes on."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from proto.events import Closed, EdgeFound, EdgeLost, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed
from services.chassis.postgres.pool import Pool
from services.sessions.model_numbers_postgres import outdated
from services.sessions.projection import NAMES, fold
from services.sessions.rows_postgres import moment
from services.sessions.schema_postgres import SCHEMA
from services.sessions.state import State
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from services.sessions.values import WATCH_WRITER
from tests.contract.session_rows import rows_of, subscriptions_of
from tests.sessions.database import execute, read_rows
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

WINDOW_MS = 60_000
HOUR = 3_600_000
START = 1_700_000_000_000  # Tuesday, 14 November 2023, 22:13:20 UTC
MODELS = [name for name in NAMES if name not in ("timeline", "refusals")]


def opened(at: int, connection: str, user: str = "", version: str = "1") -> Opened:
    return Opened(at=START + at, connection=connection, user=user, client_name="js", client_version=version)


def subscribed(at: int, connection: str, channel: str) -> Subscribed:
    return Subscribed(at=START + at, connection=connection, channel=channel)


def closed(at: int, connection: str, code: int) -> Closed:
    return Closed(at=START + at, connection=connection, code=code)


def batches(*parts: tuple[str, int, list[SessionEvent]]) -> list[EventBatch]:
    return [EventBatch(f"edge-{instance}", instance, number, events) for instance, number, events in parts]


OLD = batches(
    ("i1", 1, [opened(0, "a1", "ann"), opened(10, "b1", "bob"), opened(20, "x1"), subscribed(30, "a1", "news")]),
    ("i1", 2, [subscribed(40, "b1", "news"), subscribed(50, "x1", "news"), subscribed(60, "x1", "tea")]),
    ("i1", 3, [Unsubscribed(at=START + 2 * HOUR, connection="b1", channel="news"), closed(2 * HOUR + 5, "a1", 1006)]),
    ("i2", 1, [opened(2 * HOUR + 900, "a2", "ann"), subscribed(2 * HOUR + 950, "a2", "news")]),
    ("i1", 4, [closed(3 * HOUR, "b1", 1000), closed(200 * HOUR, "x1", 3000)]),
    ("i3", 1, [opened(200 * HOUR, "c1", "cid"), subscribed(200 * HOUR + 1, "c1", "tea")]),
    (WATCH_WRITER, 1, [EdgeLost(at=START + 201 * HOUR, instance="i3")]),
    ("i2", 2, [opened(201 * HOUR + 900, "d1", "dan", "2"), subscribed(201 * HOUR + 950, "d1", "news")]),
)  # fmt: skip
NEW = batches(
    ("i2", 3, [closed(202 * HOUR, "a2", 1000), subscribed(202 * HOUR + 1, "d1", "tea")]),
    ("i3", 2, [closed(200 * HOUR + 7, "c1", 1000)]),  # the edge's own word about a connection that was called lost
)
AT = Position("e", len(OLD))


async def store_as_before(url: str, state: State) -> None:
    """Stores rows as version 0003 did."""
    database = await asyncpg.connect(url)

    def at(value: int | None) -> object:
        return None if value is None else moment(value)

    try:
        await database.copy_records_to_table(
            "sessions",
            records=[
                (
                    one.id, one.user, one.session_key, one.client_name, one.client_version, one.edge, one.instance,
                    one.connection, one.connections, at(one.opened_at), one.lineage, at(one.ended_at),
                    at(one.away_until), one.end_code, one.end_reason,
                )
                for one in state.sessions.values()
            ],
        )  # fmt: skip
        await database.copy_records_to_table(
            "connections",
            records=[
                (
                    one.id, one.session_id, one.edge, one.instance, at(one.opened_at), at(one.closed_at),
                    one.close_code, one.close_reason,
                )
                for one in state.connections.values()
            ],
        )  # fmt: skip
        await database.copy_records_to_table(
            "subscriptions",
            records=[
                (one.connection, one.channel, at(one.since), at(one.until), one.recovered)
                for one in subscriptions_of(state).values()
            ],
        )
        writers = {batch.instance: batch for batch in OLD}
        await database.executemany(
            "INSERT INTO log_writers VALUES ($1, $2, $3, now())",
            [(name, batch.edge, batch.number) for name, batch in writers.items()],
        )
        await database.execute("INSERT INTO projections VALUES ($1, $2, $3, now())", NAMES["sessions"], *AT)
    finally:
        await database.close()


@pytest.fixture
async def upgraded(empty_postgres: Postgres) -> AsyncIterator[State]:
    """What the facts fold to, of a database that has been migrated."""
    await dataclasses.replace(SCHEMA, head="0003").migrate(empty_postgres.url)
    state = fold(State(WINDOW_MS), OLD)
    await store_as_before(empty_postgres.url, state)
    await SCHEMA.migrate(empty_postgres.url)
    yield state


def all_rows(state: State) -> dict[str, Any]:
    """The rows of the models that are filled. When an edge was heard last, only the log knows: each row has a time of
    its connections. How a channel came to its peaks is not known either, until a new hour begins."""
    edges = {name: (row.edge, row.opened, row.ended, row.lost_at) for name, row in state.edges.items()}
    channels = {name: replace(row, steps=()) for name, row in state.channels.items()}, state.channel_hours
    return rows_of(state, MODELS) | {"edges": edges, "channels": channels}


async def test_rows_are_kept_and_the_models_are_as_their_facts_are_folded(empty_postgres: Postgres, upgraded: State):
    stored = all_rows(await read_rows(empty_postgres.url))
    for model, rows in all_rows(upgraded).items():
        assert stored[model] == rows, model
    assert upgraded.sessions["a1"].connections == 2 and upgraded.channels["news"].peak == 3, "the story has all of it"


async def test_the_store_goes_on_from_there(empty_postgres: Postgres, upgraded: State):
    expected = upgraded.channels["news"].subscribers, upgraded.channels["tea"].subscribers
    assert expected == (2, 0)
    async with Pool(empty_postgres.url, 2) as pool:
        store = PostgresStore(pool, WINDOW_MS)
        assert await store.position() == AT
        assert (await store.last_number("i1"), await store.last_number("i2")) == (4, 2)
        outcome = await store.commit(AT, Position("e", 20), [*OLD[-1:], *NEW])
        assert outcome.duplicates == 1
        assert await store.position() == Position("e", 20)
    stored = await read_rows(empty_postgres.url)
    assert (stored.channels["news"].subscribers, stored.channels["tea"].subscribers) == (1, 1)
    for model, rows in all_rows(fold(upgraded, NEW)).items():
        assert all_rows(stored)[model] == rows, model


async def test_all_models_stand_where_sessions_stood(empty_postgres: Postgres, upgraded: State):
    database = await asyncpg.connect(empty_postgres.url)
    rows = await database.fetch("SELECT name, epoch, sequence FROM projections")
    await database.close()
    assert {tuple(row) for row in rows} == {(name, *AT) for name in NAMES.values()}


@pytest.mark.parametrize("there", [True, False])
async def test_refusals_of_before_have_no_user_agent_until_they_are_rebuilt(empty_postgres: Postgres, there: bool):
    await dataclasses.replace(SCHEMA, head="0004").migrate(empty_postgres.url)
    await execute(
        empty_postgres.url,
        "INSERT INTO projections VALUES ('sessions-1', 'e', 1, now()), ('refusals-1', 'e', 1, now())",
        "INSERT INTO refusals SELECT 1, now(), 'e', 'i', 'connect', 3500, '', '', 'ann', '', 'js', '1', '', 1"
        f" WHERE {there}",
    )
    await SCHEMA.migrate(empty_postgres.url)
    stored = (await read_rows(empty_postgres.url)).refusals
    assert [(one.user, one.user_agent, one.count) for one in stored] == ([("ann", "", 1)] if there else [])
    async with Pool(empty_postgres.url, 1) as pool, pool.database() as database:
        assert await outdated(database) == ({"refusals": "refusals-1"} if there else {})


@pytest.mark.parametrize("found", [True, False])
async def test_edges_of_before_never_hung_until_they_are_rebuilt(empty_postgres: Postgres, found: bool):
    """Of two that are lost now. `found`: one of them was lost and found before."""
    url, number = empty_postgres.url, 3 if found else 1
    first, last, lost = (f"'{moment(START + at).isoformat()}'" for at in (0, 400, 500))
    as_before = (
        "INSERT INTO edges (instance, edge, software, first_at, last_at, started_at, draining_at, stopped_at, lost_at,"
        f" opened, ended) VALUES ('{{}}', 'edge-1', '1', {first}, {last}, {first}, NULL, NULL, {lost}, 0, 0)"
    )
    await dataclasses.replace(SCHEMA, head="0005").migrate(url)
    await execute(
        url,
        as_before.format("i1"),
        "INSERT INTO projections VALUES ('sessions-1', 'e', 1, now()), ('edges-1', 'e', 1, now())",
        f"INSERT INTO log_writers VALUES ('{WATCH_WRITER}i1', 's', {number}, now()), ('i1', 'edge-1', 7, now())",
    )
    await SCHEMA.migrate(url)
    await execute(url, as_before.format("i2"))  # by a process of the version before that still runs
    async with Pool(url, 2) as pool:
        async with pool.database() as database:
            assert await outdated(database) == ({"edges": "edges-1"} if found else {})
        stored = await hangs(url)
        assert stored == dict.fromkeys(("i1", "i2"), (START + 500, 0, None, None))
        batches = [
            EventBatch("s", WATCH_WRITER + name, number + 1, [EdgeFound(at=START + 509, instance=name)])
            for name in stored
        ]
        await PostgresStore(pool, WINDOW_MS).commit(Position("e", 1), Position("e", 3), batches)
    assert await hangs(url) == dict.fromkeys(("i1", "i2"), (None, 1, START + 500, START + 509))


async def test_a_session_that_ended_beside_an_open_connection_is_open_again(empty_postgres: Postgres):
    """Its connections are folded on: it ends with the last of them."""
    url = empty_postgres.url
    told = batches(
        ("i1", 1, [opened(0, "a1", "ann", "1"), opened(1, "b1", "bob")]),
        (WATCH_WRITER, 1, [EdgeLost(at=START + 100, instance="i1")]),
        ("i2", 1, [opened(120, "a2", "ann", "2")]),
        (WATCH_WRITER, 2, [EdgeFound(at=START + 130, instance="i1")]),
        ("i2", 2, [closed(150, "a2", 1000)]),
    )
    await dataclasses.replace(SCHEMA, head="0006").migrate(url)
    async with Pool(url, 2) as pool:
        store = PostgresStore(pool, WINDOW_MS)
        await store.commit(ORIGIN, Position("e", 5), told)
        await execute(
            url,
            f"""UPDATE sessions SET ended_at = '{moment(START + 150).isoformat()}', end_code = 1000, connection = 'a2',
            client_version = '2', edge = 'edge-i2', instance = 'i2', connected_at = opened_at WHERE id = 'a1'""",
        )
        await SCHEMA.migrate(url)
        assert rows_of(await read_rows(url), ["sessions"]) == rows_of(fold(State(WINDOW_MS), told), ["sessions"])
        await store.commit(Position("e", 5), Position("e", 6), batches(("i1", 2, [closed(HOUR, "a1", 1000)])))
    sessions = (await read_rows(url)).sessions
    assert {name: row.ended_at for name, row in sessions.items()} == {"a1": START + HOUR, "b1": None}


async def hangs(url: str) -> dict[str, tuple[int | None, int, int | None, int | None]]:
    """By instance: since when the edge is lost, how many times it hung, and from when to when the last time."""
    edges = (await read_rows(url)).edges
    return {name: (row.lost_at, row.times_hung, row.hung_at, row.found_at) for name, row in edges.items()}


async def test_clocks_that_were_wrong_cost_no_partitions(empty_postgres: Postgres):
    await dataclasses.replace(SCHEMA, head="0003").migrate(empty_postgres.url)
    await execute(
        empty_postgres.url,
        "INSERT INTO connections SELECT 'c' || n, 'c' || n, 'e', 'i', at, NULL, NULL, '' FROM unnest("
        "ARRAY['1970-01-01', '2023-11-14', '9998-12-31']::timestamptz[]) WITH ORDINALITY AS t(at, n)",
    )
    async with asyncio.timeout(30):
        await SCHEMA.migrate(empty_postgres.url)
    database = await asyncpg.connect(empty_postgres.url)
    found = await database.fetch("SELECT id, tableoid::regclass::text AS partition FROM connections ORDER BY id")
    await database.close()
    assert {row["id"]: row["partition"] for row in found} == {
        "c1": "connections_p19691229", "c2": "connections_p20231113", "c3": "connections_default",
    }  # fmt: skip


async def test_an_empty_database_is_migrated_too(empty_postgres: Postgres):
    await dataclasses.replace(SCHEMA, head="0003").migrate(empty_postgres.url)
    await SCHEMA.migrate(empty_postgres.url)
    async with Pool(empty_postgres.url, 2) as pool:
        await PostgresStore(pool, WINDOW_MS).commit(await PostgresStore(pool, WINDOW_MS).position(), AT, OLD)
    assert rows_of(await read_rows(empty_postgres.url), MODELS) == rows_of(fold(State(WINDOW_MS), OLD), MODELS)
