"""When each edge was heard is kept, never goes back, and is written later while it cannot be now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from proto.events import Closed, EventBatch, Opened, SessionEvent
from services.chassis.postgres.pool import Pool
from services.sessions.edge_silence import MAX_INSTANCES, Sighting
from services.sessions.heard_edges import Heard, HeardEdges, HeardTable
from services.sessions.heard_edges_postgres import HeardTable as PostgresHeardTable
from services.sessions.store import ORIGIN, Position, StoreAway
from services.sessions.store_postgres import PostgresStore
from tests.sessions.database import execute
from tests.sessions.heard_table import HeardInMemory
from tests.support.eventually import eventually
from tests.support.servers import Postgres


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def table(request: pytest.FixtureRequest) -> AsyncIterator[HeardTable]:
    """An empty table of each kind."""
    if request.param == "memory":
        yield HeardInMemory()
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    async with Pool(postgres.url, 2) as pool:
        yield PostgresHeardTable(pool)


async def test_what_is_kept_never_goes_back(table: HeardTable) -> None:
    await table.keep([Heard("i1", "edge-1", 5_000), Heard("i2", "edge-2", 1)])
    await table.keep([Heard("i1", "edge-1", 4_000), Heard("i3", "edge-3", 7)])
    assert await table.recall(["i1", "i3", "x"]) == {
        "i1": Sighting("edge-1", 5_000),
        "i3": Sighting("edge-3", 7),
        "x": Sighting("", None),
    }


@pytest.mark.integration
async def test_the_last_fact_of_an_edge_with_open_connections_is_known_though_nobody_heard_it(
    postgres: Postgres,
) -> None:
    facts: list[SessionEvent] = [
        Opened(at=3, connection="c3"),
        Opened(at=9, connection="c9"),
        Closed(at=10, connection="c3", code=1000),
    ]
    async with Pool(postgres.url, 2) as pool:
        await PostgresStore(pool, 1_000).commit(ORIGIN, Position("e", 1), [EventBatch("edge-1", "i1", 1, facts)])
        assert (await PostgresHeardTable(pool).recall(["i1"]))["i1"].fact in (9, 10)


@pytest.mark.integration
async def test_what_was_heard_long_ago_is_forgotten(postgres: Postgres) -> None:
    async with Pool(postgres.url, 2) as pool:
        table = PostgresHeardTable(pool)
        await table.keep([Heard("old", "edge-1", 1), Heard("new", "edge-1", 1)])
        await execute(postgres.url, "UPDATE heard_edges SET heard_at = now() WHERE instance = 'new'")
        await table.forget()
        found = await table.recall(["old", "new"])
        assert found["old"].heard is None and found["new"].heard is not None


class Breakable(HeardInMemory):
    """It cannot be written while `away`."""

    away = False

    async def keep(self, heard: Sequence[Heard]) -> None:
        if self.away:
            raise StoreAway("PostgreSQL: away")
        await super().keep(heard)


async def test_what_cannot_be_written_now_is_written_later_as_it_is_then() -> None:
    table = Breakable()
    edges = HeardEdges(table)
    table.away = True
    edges.heard("i1", "edge-1", 1)
    edges.heard("i2", "edge-2", 1)
    with pytest.raises(StoreAway):
        await edges.write()
    edges.heard("i1", "edge-1", 2)
    table.away = False
    await edges.write()
    assert table.rows == {"i1": Heard("i1", "edge-1", 2), "i2": Heard("i2", "edge-2", 1)}


async def test_it_writes_by_itself_and_goes_on_after_an_outage() -> None:
    table = Breakable()
    edges = HeardEdges(table)
    writing = asyncio.create_task(edges.run())
    try:
        table.away = True
        edges.heard("i1", "edge-1", 1)
        await eventually(lambda: not edges._any.is_set() or None)
        table.away = False
        await eventually(lambda: "i1" in table.rows)
    finally:
        writing.cancel()
        await asyncio.wait([writing])


async def test_a_bounded_number_waits() -> None:
    table = Breakable()
    edges = HeardEdges(table)
    for number in range(MAX_INSTANCES + 10):
        edges.heard(f"i{number}", "edge", 1)
    edges.heard("i0", "edge", 2)
    await edges.write()
    assert len(table.rows) == MAX_INSTANCES and table.rows["i0"].at == 2
